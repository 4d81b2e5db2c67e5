"""Traces for lists and for their own page."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Trace
from dashboard.selectors import traces
from dashboard.selectors.keyset import Cursor
from dashboard.selectors.traces import TraceFilter
from tests.dashboard.web import factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def calls() -> list[Trace]:
    """Three calls, the oldest first."""
    a, b = factory.seen_node("node-a", now=NOW), factory.seen_node("node-b", now=NOW)
    return [
        factory.trace(a, at=NOW - timedelta(seconds=3), trace_id="t1", provider="groq"),
        factory.trace(b, at=NOW - timedelta(seconds=2), trace_id="t2", hops=2, attempts=factory.FAILED_OVER),
        factory.trace(b, at=NOW - timedelta(seconds=1), trace_id="t2", outcome="error", code="timeout"),
    ]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (TraceFilter(), [2, 1, 0]),
        (TraceFilter(node="node-a"), [0]),
        (TraceFilter(provider="groq"), [0]),
        (TraceFilter(outcome="error"), [2]),
        (TraceFilter(code="timeout"), [2]),
        (TraceFilter(trace_id="t2"), [2, 1]),
        (TraceFilter(failed_over=True), [1]),
        (TraceFilter(node="node-b", outcome="ok"), [1]),
        (TraceFilter(node="node-a", failed_over=True), []),
    ],
)
def test_each_filter_narrows_the_list(calls: list[Trace], wanted: TraceFilter, found: list[int]) -> None:
    page = traces.page(wanted=wanted, cursor=Cursor())

    assert [row.pk for row in page.rows] == [calls[i].pk for i in found]


def test_a_page_takes_two_queries_at_most_with_the_names_of_the_nodes(
    calls: list[Trace], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(2):
        page = traces.page(wanted=TraceFilter(outcome="ok", failed_over=True), cursor=Cursor())
        assert [row.node.name for row in page.rows] == ["node-b"]


def test_the_story_of_a_trace_takes_one_query(
    calls: list[Trace], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        story = traces.story(trace_pk=calls[1].pk)

    assert story is not None
    assert [attempt["n"] for attempt in story.attempts] == [1, 2]
    assert story.candidates == factory.CANDIDATES


def test_a_trace_whose_detail_is_gone_still_has_its_row(calls: list[Trace]) -> None:
    story = traces.story(trace_pk=calls[0].pk)

    assert story is not None
    assert (story.attempts, story.candidates, story.message) == ([], [], "")
    assert (story.splices, story.alias_skips) == ([], [])


def test_what_is_not_there_is_none(calls: list[Trace]) -> None:
    assert traces.story(trace_pk=1) is None
    assert traces.newest_called(trace_id="t9") is None


def test_of_traces_with_one_id_the_newest_is_meant(calls: list[Trace]) -> None:
    assert traces.newest_called(trace_id="t2") == calls[2].pk


def test_a_key_tells_its_moment() -> None:
    assert traces.moment_of(factory.trace_key(NOW)) == NOW
