"""Pills."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.models import DrainStatus, Outcome
from dashboard.selectors.presence import Composite
from dashboard.templatetags import pills
from meshcore.breaker import BreakerState

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)


@pytest.mark.parametrize("state", Composite)
def test_every_state_of_a_node_has_icon_word_and_colour(state: Composite) -> None:
    pill = pills.state_pill(state.value)

    assert pills.NODE_LOOKS[state.value].tone in pill
    assert "<svg" in pill
    assert f">{state.value}</span>" in pill


@pytest.mark.parametrize("state", BreakerState)
def test_every_state_of_a_breaker_has_a_look(state: BreakerState) -> None:
    pill = pills.breaker_pill(state.value)

    assert pills.BREAKER_LOOKS[state].tone in pill
    assert state.value.replace("_", " ") in pill


@pytest.mark.parametrize("state", BreakerState)
def test_what_was_not_heard_of_lately_has_the_colour_of_nothing(state: BreakerState) -> None:
    pill = pills.was_pill(state.value)

    assert 'class="pill none"' in pill
    assert f"was {state.value.replace('_', ' ')}" in pill


def test_cooling_counts_down() -> None:
    pill = pills.cooling_pill(NOW + timedelta(seconds=12), NOW)

    assert "cooling <time data-until=" in pill
    assert ">12 s</time>" in pill


@pytest.mark.parametrize("outcome", [*Outcome, *DrainStatus])
def test_every_outcome_has_a_look(outcome: str) -> None:
    assert outcome in pills.OUTCOME_LOOKS


def test_a_state_that_nobody_knows_is_shown_as_it_is() -> None:
    assert "circle-question-mark" not in pills.state_pill("dreaming")
    assert 'class="pill none"' in pills.state_pill("dreaming")
    assert "dreaming" in pills.state_pill("dreaming")


def test_a_suspect_breaker_shows_its_strikes() -> None:
    assert "1 of 2 strikes" in pills.breaker_pill("suspect", 1, 2)


def test_an_open_breaker_counts_down() -> None:
    pill = pills.breaker_pill("open", 2, 2, NOW + timedelta(seconds=41), NOW)

    assert 'data-until="2026-03-05T14:21:48+00:00"' in pill
    assert ">41 s</time>" in pill


@pytest.mark.parametrize("until", [None, NOW])
def test_an_open_breaker_in_the_past_counts_nothing(until: datetime | None) -> None:
    assert "data-until" not in pills.breaker_pill("open", 2, 2, until, None)


def test_words_from_outside_are_escaped() -> None:
    assert "&lt;b&gt;" in pills.outcome_pill("error", "<b>")
    assert "&lt;b&gt;" in pills.note_pill("warn", "clock", "<b>")
    assert pills.words("gate_closed") == "gate closed"
