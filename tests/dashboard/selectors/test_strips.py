"""The last 24 hours of a breaker."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pytest

from dashboard.selectors.strips import SLOTS, Change, Standing, Strip, strip, window
from meshcore.breaker import BreakerState

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)
CLOSED, SUSPECT, OPEN, HALF_OPEN = (
    BreakerState.CLOSED,
    BreakerState.SUSPECT,
    BreakerState.OPEN,
    BreakerState.HALF_OPEN,
)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def change(
    minutes: float, to: BreakerState, *, was: BreakerState = CLOSED, node: str = "node-b", count: int = 1
) -> Change:
    return Change(node=node, at=ago(minutes), from_state=was, to_state=to, count=count)


def says(state: BreakerState, *, since: float | None = None, heard: float = 0) -> Standing:
    return Standing(state=state, since=None if since is None else ago(since), heard_at=ago(heard))


def runs(found: Strip) -> list[tuple[str, int]]:
    """Return the slots as (level, how many in a row), oldest first."""
    return [(level.name, len(list(group))) for level, group in groupby(found.slots)]


def drawn(changes: Iterable[Change] = (), standing: Standing | None = None) -> list[tuple[str, int]]:
    return runs(strip(changes, {} if standing is None else {"node-b": standing}, now=NOW))


def test_it_ends_with_the_running_quarter_of_an_hour() -> None:
    assert window(NOW) == datetime(2026, 3, 4, 14, 30, tzinfo=UTC)
    assert drawn([change(1, OPEN)]) == [("CALM", SLOTS - 1), ("DOWN", 1)]


def test_open_lasts_until_the_next_change_of_the_same_node() -> None:
    changes = [change(60, OPEN), change(30, CLOSED, was=OPEN), change(45, CLOSED, node="node-a")]

    assert drawn(changes) == [("CALM", 91), ("DOWN", 3), ("CALM", 2)]


def test_what_was_open_before_the_strip_begins_is_open_from_its_begin() -> None:
    assert drawn([change(23 * 60, CLOSED, was=OPEN)]) == [("DOWN", 4), ("CALM", 92)]


def test_what_is_still_open_is_open_until_now() -> None:
    assert drawn([change(60, OPEN)], says(OPEN)) == [("CALM", 91), ("DOWN", 5)]


def test_what_was_open_when_the_node_began_anew_is_not_drawn_on() -> None:
    assert drawn([change(60, OPEN)], says(CLOSED)) == [("CALM", 91), ("DOWN", 1), ("CALM", 4)]


def test_a_silent_node_is_drawn_until_its_last_word() -> None:
    assert drawn([change(60, OPEN)], says(OPEN, heard=30)) == [("CALM", 91), ("DOWN", 3), ("CALM", 2)]


def test_an_open_breaker_without_a_change_is_open_since_it_says_so() -> None:
    assert drawn(standing=says(OPEN, since=60)) == [("CALM", 91), ("DOWN", 5)]
    assert drawn(standing=says(OPEN, since=99 * 60)) == [("DOWN", SLOTS)]
    assert drawn(standing=says(OPEN)) == [("CALM", SLOTS - 1), ("DOWN", 1)]


def test_the_worst_of_a_quarter_of_an_hour_counts() -> None:
    changes = [change(3, SUSPECT), change(2, OPEN, was=SUSPECT), change(1, HALF_OPEN, was=OPEN)]

    assert drawn(changes) == [("CALM", 95), ("DOWN", 1)]


def test_doubt_is_less_than_down() -> None:
    assert drawn([change(20, SUSPECT), change(18, CLOSED, was=SUSPECT)]) == [
        ("CALM", 94),
        ("DOUBT", 1),
        ("CALM", 1),
    ]


def test_changes_outside_of_the_window_are_left_out() -> None:
    assert drawn([change(25 * 60, OPEN), change(-5, OPEN)]) == [("CALM", SLOTS)]


def test_what_was_not_read_is_unknown_and_not_calm() -> None:
    found = strip([change(60, OPEN)], {}, now=NOW, known_from=ago(120))

    assert runs(found) == [("UNKNOWN", 87), ("CALM", 4), ("DOWN", 1), ("CALM", 4)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([], "no trouble"),
        ([change(9, OPEN)], "opened once, node-b 1 ×, last at 14:12"),
        (
            [change(9, OPEN, count=2), change(8, OPEN, node="node-a"), change(7, CLOSED)],
            "opened 3 times, node-b 2 ×, node-a 1 ×, last at 14:13",
        ),
        (
            [change(9, OPEN, node=f"node-{n}") for n in range(5)],
            "opened 5 times, node-0 1 ×, node-1 1 ×, node-2 1 ×, 2 more nodes, last at 14:12",
        ),
        ([change(9, SUSPECT), change(8, CLOSED, was=SUSPECT)], "in doubt at times, never open"),
        ([change(9, CLOSED, was=OPEN)], "open since before"),
    ],
)
def test_the_same_in_words(changes: list[Change], words: str) -> None:
    assert strip(changes, {}, now=NOW).words == words
