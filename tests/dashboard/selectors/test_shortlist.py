"""Who and what of a matrix is worth showing."""

from datetime import UTC, datetime

import pytest

from dashboard.models import Node
from dashboard.selectors.presence import Composite, Presence
from dashboard.selectors.shortlist import Column, Shortlist, shortlist, tellers
from dashboard.selectors.testimony import PEER, PROVIDER, Phrases
from meshcore.breaker import BreakerState

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)
SHORT = {
    "o": BreakerState.OPEN,
    "h": BreakerState.HALF_OPEN,
    "c": BreakerState.CLOSED,
    "s": BreakerState.SUSPECT,
    "F": BreakerState.FORCED_OPEN,
}
HERE = Presence(state=Composite.RUNNING, stale=False, age_seconds=1.0)
STALE = Presence(state=Composite.RUNNING, stale=True, age_seconds=5.5)
GONE = Presence(state=Composite.UNREACHABLE, stale=True, age_seconds=60.0)
STOPPING = Presence(state=Composite.STOPPING, stale=False, age_seconds=1.0)


def column(number: int, presence: Presence = HERE) -> Column:
    return Column.of(Node(pk=number, name=f"n{number}"), presence)


def chosen(
    *,
    silent: tuple[int, ...] = (),
    away: dict[str, Composite] | None = None,
    only: str = "",
    most: int = 9,
    phrases: Phrases = PROVIDER,
    **rows: str,
) -> Shortlist:
    """Return the shortlist of rows, each the states of n0, n1, … by their first letters, "-" for none."""
    seen = {
        key: {at: SHORT[each] for at, each in enumerate(states) if each != "-"}
        for key, states in rows.items()
    }
    columns = {at: column(at, GONE if at in silent else HERE) for at in range(12)}
    return shortlist(
        seen,
        columns,
        phrases=phrases,
        fits=lambda key, states: only in key,
        most_columns=most,
        most_keys=most,
        away=away,
    )


def names(found: Shortlist) -> list[str]:
    return [each.name for each in found.columns]


@pytest.mark.parametrize(
    ("presence", "fresh"), [(HERE, True), (STALE, False), (GONE, False), (STOPPING, False)]
)
def test_what_a_silent_node_said_holds_no_more(presence: Presence, fresh: bool) -> None:
    assert column(1, presence).fresh is fresh


def test_the_node_against_all_others_comes_first_then_the_most_trouble_the_silent_and_the_calm() -> None:
    found = chosen(
        silent=(4,),
        a="cccco",
        b="coccc",
        c="ccssc",
        d="ccooc",
        e="coooc",
    )

    assert names(found) == ["n1", "n0", "n2", "n3", "n4"]


def test_rows_with_an_odd_one_come_first_then_by_how_many_see_trouble() -> None:
    found = chosen(calm="cccc", doubted="csss", odd="cocc", many="oooc", twice="oocc")

    # "many" has one against three: n3, who alone sees it up
    assert found.keys == ("many", "odd", "twice", "doubted", "calm")


def test_what_is_left_out_is_counted() -> None:
    found = chosen(most=2, a="cccc", b="cccc", c="ocoo")

    assert (found.more_columns, found.more_keys) == (2, 1)
    assert (len(found.columns), found.keys[0]) == (2, "c")
    assert list(found.findings) == ["c", "a", "b"]


def test_the_filter_changes_rows_and_never_columns() -> None:
    found = chosen(only="b", most=2, a="oocc", b="ccco")

    assert found.keys == ("b",)
    assert names(found) == names(chosen(most=2, a="oocc", b="ccco"))
    assert found.asked == ([each.node.pk for each in found.columns], ("b",))


def test_a_silent_node_is_no_witness() -> None:
    assert chosen(silent=(0,), a="occ").findings["a"].sentence == ""
    assert chosen(silent=(2,), a="occ").findings["a"].sentence == "n0 and n1 disagree"


def test_only_nodes_that_have_told_have_a_column() -> None:
    found = chosen(a="-c-c")

    assert names(found) == ["n1", "n3"]
    assert tellers({"a": {1: BreakerState.CLOSED}, "b": {3: BreakerState.CLOSED}}) == {1, 3}


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (Composite.UNREACHABLE, "the dashboard doesn't hear it either"),
        (Composite.NEVER_SEEN, "the dashboard doesn't hear it either"),
        (Composite.STOPPED, "it is stopped"),
    ],
)
def test_that_nobody_reaches_a_node_that_is_away_is_no_news(state: Composite, sentence: str) -> None:
    found = chosen(
        phrases=PEER, away={"a": state, "b": state, "unknown": state}, a="-occ", b="cccc", c="cccs"
    )

    assert found.findings["a"].sentence == sentence
    assert (found.findings["a"].odd, found.findings["a"].down) == (frozenset(), 0)
    assert found.findings["b"].sentence == ""
    assert found.keys == ("c", "a", "b")
    assert names(found)[0] == "n3"


def test_what_an_operator_forced_is_shown_before_what_is_closed() -> None:
    assert names(chosen(a="ccF"))[0] == "n2"
