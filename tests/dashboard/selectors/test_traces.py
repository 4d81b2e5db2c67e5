"""Traces for lists and for their own page."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import SKIP_BITS, ErrorSignature, History, Removal, Trace
from dashboard.selectors import traces
from dashboard.selectors.keyset import Cursor
from dashboard.selectors.traces import TraceFilter
from meshcore.trace import Reason
from tests.dashboard.web import factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def calls() -> list[Trace]:
    """Three calls, the oldest first."""
    a, b = factory.seen_node("node-a", now=NOW), factory.seen_node("node-b", now=NOW)
    return [
        factory.trace(a, at=NOW - timedelta(seconds=3), trace_id="t1", provider="groq", alias="mesh/fast"),
        factory.trace(
            b,
            at=NOW - timedelta(seconds=2),
            trace_id="t2",
            hops=2,
            attempts=factory.FAILED_OVER,
            routed_via="node-c",
            skipped=1 << SKIP_BITS[Reason.BREAKER_OPEN],
        ),
        factory.trace(
            b,
            at=NOW - timedelta(seconds=1),
            trace_id="t2",
            outcome="error",
            code="timeout",
            duration_ms=1000.0,
        ),
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
        (TraceFilter(node="node-b"), [2, 1]),
        (TraceFilter(node="node-z"), []),
        (TraceFilter(alias="mesh/fast"), [0]),
        (TraceFilter(capability="llm.chat"), [2, 1, 0]),
        (TraceFilter(capability="llm.embed"), []),
        (TraceFilter(model="llama3.1-8b", outcome="error"), [2]),
        (TraceFilter(caller="shop", failed_over=True), [1]),
        (TraceFilter(served_by="node-c"), [1]),
        (TraceFilter(served_by="node-a"), [0]),
        (TraceFilter(skipped="breaker_open"), [1]),
        (TraceFilter(skipped="capacity"), []),
        (TraceFilter(duration_ms_min=900), [2]),
        (TraceFilter(duration_ms_max=143.2), [1, 0]),
        (TraceFilter(ttft_ms_min=61, duration_ms_min=200), [2]),
        (TraceFilter(tokens_min=109), [2, 1, 0]),
        (TraceFilter(tokens_min=110), []),
        (TraceFilter(since=NOW - timedelta(seconds=2)), [2, 1]),
        (TraceFilter(until=NOW - timedelta(seconds=2)), [0]),
        (TraceFilter(since=NOW - timedelta(seconds=2), until=NOW - timedelta(seconds=1)), [1]),
    ],
)
def test_each_filter_narrows_the_list(calls: list[Trace], wanted: TraceFilter, found: list[int]) -> None:
    page = traces.page(wanted=wanted, cursor=Cursor())

    assert [row.pk for row in page.rows] == [calls[i].pk for i in found]


def test_a_page_takes_two_queries_at_most_with_the_names_of_the_nodes(
    calls: list[Trace], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        assert len(traces.page(wanted=TraceFilter(provider="groq"), cursor=Cursor()).rows) == 1
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


def test_errors_of_one_kind_are_found_by_their_signature(calls: list[Trace]) -> None:
    kind = ErrorSignature.objects.create(text="timeout: after # s")
    Trace.objects.filter(pk=calls[2].pk).update(error_signature=kind)

    found = traces.page(wanted=TraceFilter(signature=traces.signature_of(text=kind.text)), cursor=Cursor())

    assert [row.pk for row in found.rows] == [calls[2].pk]
    assert traces.signature(pk=kind.pk) == kind.text
    assert (traces.signature(pk=kind.pk + 1), traces.signature_of(text="unknown")) == ("", 0)


def test_that_something_was_removed_is_known() -> None:
    assert traces.removed() is None
    Removal.objects.create(kind=History.TRACES.value, removed=3)
    assert traces.removed() is not None


def test_a_node_has_its_newest_traces_alone(calls: list[Trace]) -> None:
    assert traces.newest_of(node=calls[1].node, rows=1) == [calls[2]]
