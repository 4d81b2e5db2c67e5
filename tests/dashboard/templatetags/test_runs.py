"""Runs as people read them."""

from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest

from dashboard.models import Run
from dashboard.selectors.run_ribbon import Ribbon, Stretch
from dashboard.selectors.runs import RunRow, Tally
from dashboard.templatetags import runs
from meshcore.run_events import RunStatus
from meshcore.run_request import new_run_id


def stretch(epoch: int, node: str, first: int, last: int, **fields: Any) -> Stretch:
    reason = "started" if epoch == 1 else "continued"
    return Stretch(epoch=epoch, node=node, first=first, last=last, **{"reason": reason, **fields})


def drawn(*stretches: Stretch) -> ElementTree.Element:
    made = Ribbon(stretches=stretches, findings=(), last_seq=stretches[-1].last)
    return ElementTree.fromstring(runs.owner_ribbon(made))  # noqa: S314 - our own


def widths(svg: ElementTree.Element) -> list[float]:
    return [float(rect.get("width", "")) for rect in svg.iter("rect")]


def texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in svg.iter("text")]


def test_a_ribbon_says_in_words_and_in_width_who_owned_what() -> None:
    svg = drawn(stretch(1, "node-a", 2, 50), stretch(2, "node-b", 51, 100))

    assert (
        svg.get("aria-label") == "Who owned what: node-a owned events 2 to 50; node-b owned events 51 to 100"
    )
    assert widths(svg) == pytest.approx([760 * 0.49 - 1, 760 * 0.5 - 1])
    assert texts(svg) == ["node-a", "node-b", "continued at 51", "event 1", "100"]


def test_what_was_replaced_is_struck_out() -> None:
    svg = drawn(
        stretch(1, "node-a", 2, 50, superseded=True), stretch(2, "node-b", 51, 100, reason="restarted")
    )

    assert [group.get("class") for group in svg.iter("g")] == ["n0 gone", "n1"]
    assert "node-a owned events 2 to 50, replaced later" in svg.get("aria-label", "")
    assert "node-a, replaced" in texts(svg) and "restarted at 51" in texts(svg)


def test_a_narrow_stretch_is_seen_and_has_no_label() -> None:
    svg = drawn(stretch(1, "node-a", 2, 2), stretch(2, "node-b", 3, 90_000))

    assert min(widths(svg)) == runs.LEAST
    assert "node-a" not in texts(svg)


def test_a_node_keeps_its_tone_and_tones_begin_again() -> None:
    names = ["a", "b", "a", "c", "d", "e"]
    svg = drawn(*(stretch(n, name, n * 10, n * 10 + 9) for n, name in enumerate(names, 1)))

    assert [group.get("class") for group in svg.iter("g")] == ["n0", "n1", "n0", "n2", "n3", "n0"]


def test_marks_in_the_right_half_stand_before_their_line() -> None:
    svg = drawn(stretch(1, "a", 2, 9), stretch(2, "b", 10, 89), stretch(3, "a", 90, 100))

    marks = [text.get("class") for text in svg.iter("text") if "turn" in (text.get("class") or "")]
    assert marks == ["turn behind", "turn before"]


@pytest.mark.parametrize("status", RunStatus)
def test_every_status_has_a_pill_of_its_own(status: RunStatus) -> None:
    assert f">{status.value}</span>" in runs.run_pill(status.value)
    assert f"3 {status.value}" in runs.run_pill(status.value, said=3)


def test_a_status_of_a_newer_node_is_shown_as_it_came() -> None:
    assert "half asleep" in runs.run_pill("half_asleep")


@pytest.mark.parametrize(("good", "said"), [(True, "checked"), (False, "wrong"), (None, "not known")])
def test_a_finding_has_a_verdict(good: bool | None, said: str) -> None:
    assert said in runs.finding_pill(good)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("", ""),
        ("stop", ""),
        ("cancel_requested", ""),
        ("owner_lost", "too many of its owners died"),
        ("length", "at the length asked for"),
        ("no_healthy_provider", "no healthy provider"),
    ],
)
def test_a_reason_is_said_when_the_status_does_not_say_it_all(reason: str, said: str) -> None:
    assert runs.telling_reason(RunRow(run=Run(reason=reason))) == said


def test_words_for_the_rest() -> None:
    assert runs.beginning("restarted") == "began it anew"
    assert runs.beginning("cloned_whole") == "cloned whole"
    assert runs.untold(Tally(statuses={}, untold=1204)).startswith("1\u202f204 more")
    assert runs.used({"total_tokens": 12, "details": {"x": 1}, "cached": True}) == "12 total tokens"
    assert runs.used({}) == "–"


def test_runs_of_one_millisecond_look_different() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    one, other = (new_run_id("k3v9x2", drawn, at) for drawn in ("0" * 24 + "a1b2c3d4", "0" * 24 + "a1b2c3d5"))

    assert runs.short(one) == "run_k3v9x2_…a1b2c3d4"
    assert runs.short(other) == "run_k3v9x2_…a1b2c3d5"


def test_a_short_id_is_shown_whole() -> None:
    assert runs.short("run_k3v9x2_1") == "run_k3v9x2_1"
    assert runs.short("run_k3v9x2_01234567") == "run_k3v9x2_01234567"
