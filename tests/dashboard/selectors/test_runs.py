"""Runs as a list and one by one."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Node
from dashboard.selectors import runs
from dashboard.selectors.keyset import Cursor
from dashboard.selectors.runs import OF_NODE_MAX, RunFilter, RunRow, Tally
from tests.dashboard.web import factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db
Make = Callable[..., None]


def ids(rows: Any) -> list[str]:
    return [row.run.run_id for row in rows]


def listed(**wanted: Any) -> list[str]:
    return ids(runs.page(wanted=RunFilter(**wanted), cursor=Cursor(), now=NOW).rows)


def one(run_id: str) -> RunRow:
    row = runs.named(run_id=run_id, now=NOW)
    assert row is not None
    return row


@pytest.fixture
def some() -> None:
    """node-a, which is there, with a live run and an ended one; node-b, which is silent, with a live one."""
    factory.seen_node("node-a", now=NOW)
    factory.silent_for(factory.seen_node("node-b", now=NOW), 600, now=NOW)
    factory.run("run_1", at=NOW - timedelta(seconds=30), status="completed", ended_at=NOW)
    factory.run("run_2", at=NOW, epochs=[factory.epoch(1, "node-b", 2)])
    factory.run("run_3", at=NOW)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["run_3", "run_2", "run_1"]),
        ({"live": True}, ["run_3", "run_2"]),
        ({"node": "node-a"}, ["run_3", "run_1"]),
        ({"node": "node-a", "live": True}, ["run_3"]),
        ({"status": "completed"}, ["run_1"]),
        ({"status": "completed", "live": True}, []),
    ],
)
def test_runs_are_narrowed_to_what_is_wanted(some: None, wanted: dict[str, Any], found: list[str]) -> None:
    assert listed(**wanted) == found


def test_a_live_run_whose_owner_is_not_heard_is_a_last_word(some: None) -> None:
    factory.run("run_4", at=NOW, epochs=[factory.epoch(1, "node-x", 2)])  # of another dashboard
    factory.run("run_5", at=NOW, epochs=[factory.epoch(1, "node-b", 2)], status="waiting")

    assert {run_id: one(run_id).unheard for run_id in ("run_1", "run_2", "run_3", "run_4", "run_5")} == {
        "run_1": False,
        "run_2": True,
        "run_3": False,
        "run_4": True,
        "run_5": False,  # nobody owns it
    }
    assert (one("run_2").owner_heard, one("run_3").owner_heard) == (False, True)


def test_a_run_lasts_from_its_making_or_else_from_its_first_mention(some: None) -> None:
    at = NOW - timedelta(seconds=9)
    factory.run("run_4", at=at, created_at=None, status="failed", ended_at=NOW)

    assert [one(run_id).lasted_seconds for run_id in ("run_1", "run_3", "run_4")] == [30.0, None, 9.0]
    assert (one("run_1").live, one("run_3").live) == (False, True)


def test_a_run_that_nobody_told_of_is_none() -> None:
    assert runs.named(run_id="run_9", now=NOW) is None


def test_what_is_pushed_are_live_runs_and_the_newest_page(
    some: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.selectors.keyset.PAGE_ROWS", 1)
    factory.run("run_4", at=NOW, status="completed", ended_at=NOW)

    assert set(ids(runs.shown(now=NOW))) == {"run_4", "run_3", "run_2"}


def test_the_live_runs_of_a_node_are_those_that_it_owns_up_to_a_bound(some: None) -> None:
    factory.run("run_4", at=NOW, status="waiting")
    few = runs.of_node(name="node-a", now=NOW)
    for n in range(OF_NODE_MAX + 2):
        factory.run(f"run_more_{n}", at=NOW)

    many = runs.of_node(name="node-a", now=NOW)

    assert (ids(few.rows), few.more) == (["run_3"], 0)
    assert (len(many.rows), many.more) == (OF_NODE_MAX, 3)


def test_live_runs_are_counted_by_status_and_with_what_nodes_could_not_tell(some: None) -> None:
    Node.objects.filter(name="node-a").update(runs_more=7)
    factory.run("run_4", at=NOW, status="waiting")

    tally = runs.tally(now=NOW)

    assert tally == Tally(statuses={"running": 1, "waiting": 1}, unheard={"running": 1}, untold=7)
    assert tally.live == 3


def test_the_tally_says_of_the_runs_what_their_rows_say(some: None) -> None:
    factory.run("run_4", at=NOW, epochs=[factory.epoch(1, "node-x", 2)], status="cancelling")
    factory.run("run_5", at=NOW, epochs=[factory.epoch(1, "node-b", 2)], status="waiting")
    rows = runs.page(wanted=RunFilter(live=True), cursor=Cursor(), now=NOW).rows

    tally = runs.tally(now=NOW)

    assert Counter(row.run.status for row in rows if not row.unheard) == tally.statuses
    assert Counter(row.run.status for row in rows if row.unheard) == tally.unheard


def test_the_tally_costs_the_same_whoever_owns_runs(
    some: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for n in range(20):
        factory.run(f"run_more_{n}", at=NOW, epochs=[factory.epoch(1, f"node-{n}", 2)])

    with django_assert_num_queries(4):
        runs.tally(now=NOW)


def test_the_calls_of_a_run_are_found(some: None) -> None:
    node = Node.objects.get(name="node-a")
    older = factory.trace(node, at=NOW - timedelta(seconds=2), run_id="run_1")
    newer = factory.trace(node, at=NOW, run_id="run_1")
    factory.trace(node, at=NOW)

    assert runs.traces_of(run_id="run_1") == [newer, older]
    assert runs.traces_of(run_id="") == []


def test_a_page_costs_the_same_whatever_is_on_it(
    some: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(3):
        listed()
    for n in range(20):
        factory.run(f"run_more_{n}", at=NOW, epochs=[factory.epoch(1, f"node-{n}", 2)])
    with django_assert_num_queries(3):
        listed()
