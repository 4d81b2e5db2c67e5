"""Overrides as desired state: parsed whole, carried out once, lifted when no longer wanted."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.errors import FrameError
from meshcore.override import (
    OVERRIDES_MAX,
    Action,
    Force,
    Lift,
    Override,
    OverrideBook,
    parse_overrides,
)
from meshcore.testing import START

OPEN = Override(key="alpha", action=Action.FORCE_OPEN, actor="alice", reason="maintenance")
TEN_MINUTES = Override(key="alpha", action=Action.FORCE_OPEN, expires_at=START + timedelta(minutes=10))
RESET = Override(key="alpha", action=Action.RESET, actor="alice", at=START)


def test_overrides_are_read_with_their_moments() -> None:
    raw = {
        "key": "alpha/m1",
        "action": "force_open",
        "actor": "alice",
        "reason": "maintenance",
        "at": START.isoformat(),
        "expires_at": (START + timedelta(minutes=10)).isoformat(),
        "of a later version": 1,
    }

    (override,) = parse_overrides([raw])

    assert (override.key, override.action, override.actor) == ("alpha/m1", Action.FORCE_OPEN, "alice")
    assert (override.at, override.expires_at) == (START, START + timedelta(minutes=10))


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ([{"key": "a", "action": "reset"}, {"key": "b", "action": "explode"}], r"overrides\[1\]: .*explode"),
        ([{"action": "reset"}], r"overrides\[0\]: .*`key`"),
        ([{"key": "", "action": "reset"}], r"overrides\[0\]: .*length >= 1"),
        ([{"key": "a", "action": "reset", "expires_at": "2026-01-01T00:00:00"}], "timezone"),
        ([{"key": "a", "action": "reset"}] * 2, "expected each key once"),
        ([{"key": f"{n}", "action": "reset"} for n in range(OVERRIDES_MAX + 1)], "at most 1000"),
    ],
)
def test_wrong_overrides_are_refused_whole(raw: list[dict[str, Any]], complaint: str) -> None:
    with pytest.raises(FrameError, match=complaint):
        parse_overrides(raw)


def test_what_is_wanted_is_done_once() -> None:
    book = OverrideBook()

    assert book.moves([OPEN], now=START) == [Force(OPEN)]
    assert book.moves([OPEN], now=START) == []


def test_what_is_no_longer_wanted_is_lifted() -> None:
    book = OverrideBook()
    book.moves([OPEN], now=START)

    assert book.moves([], now=START) == [Lift("alpha")]
    assert book.moves([], now=START) == []


def test_a_reset_in_place_of_an_override_is_done_and_nothing_lifted() -> None:
    book = OverrideBook()
    book.moves([OPEN], now=START)

    assert book.moves([RESET], now=START) == [Force(RESET)]


def test_a_second_reset_is_another_one() -> None:
    book = OverrideBook()
    book.moves([RESET], now=START)
    again = Override(key="alpha", action=Action.RESET, actor="alice", at=START + timedelta(seconds=1))

    assert book.moves([again], now=START) == [Force(again)]


def test_an_override_lasts_for_what_is_left_of_its_time() -> None:
    now = START + timedelta(minutes=4)

    assert OverrideBook().moves([TEN_MINUTES], now=now) == [Force(TEN_MINUTES, 360.0)]


def test_an_override_that_expired_meanwhile_is_not_carried_out() -> None:
    now = START + timedelta(minutes=10)

    assert OverrideBook().moves([TEN_MINUTES], now=now) == [Lift("alpha")]


words = st.sampled_from(["key", "action", "actor", "reason", "at", "expires_at"])
values = st.sampled_from(["alpha", "force_open", "reset", START.isoformat()]) | st.none() | st.integers()


@given(st.lists(st.dictionaries(words, values | st.text() | st.lists(values)), max_size=4))
def test_whatever_comes_is_either_good_or_refused_whole(raw: list[dict[str, Any]]) -> None:
    taken: list[Override] = []
    with suppress(FrameError):
        taken.extend(parse_overrides(raw))

    assert len(taken) in (0, len(raw))
    assert len(OverrideBook().moves(taken, now=START)) == len(taken)
