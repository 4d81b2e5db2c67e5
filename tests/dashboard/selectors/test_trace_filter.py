"""What a list of traces is narrowed to."""

from datetime import UTC, datetime

import pytest
from django.db.models import Q

from dashboard.models import Node
from dashboard.selectors import traces
from dashboard.selectors.keyset import Cursor
from dashboard.selectors.trace_filter import TraceFilter, key_of, moment_of
from tests.dashboard.web import factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wanted", "served"),
    [
        (TraceFilter(outcome="ok", provider="a"), Q(provider="a")),
        (TraceFilter(outcome="error", provider="a"), Q(outcome="error")),
        (TraceFilter(signature=7, alias="a"), Q(outcome="error")),
        (TraceFilter(trace_id="t", outcome="error"), Q(trace_id="t")),
        (TraceFilter(node="a", node_ids=(3,), provider="b"), Q(provider="b")),
        (TraceFilter(node="a", node_ids=(3,)), Q(node_id=3)),
        (TraceFilter(node="a", node_ids=(3, 2)), Q()),
        (TraceFilter(code="timeout"), Q()),
    ],
)
def test_the_index_that_fits_the_fewest_serves(wanted: TraceFilter, served: Q) -> None:
    assert wanted.split()[0] == served


@pytest.mark.django_db
def test_a_node_that_was_forgotten_and_came_again_has_the_calls_of_both() -> None:
    first = factory.trace(factory.seen_node("node-a", now=NOW), at=NOW)
    Node.objects.filter(name="node-a").update(forgotten_at=NOW)
    newest = factory.trace(factory.seen_node("node-a", now=NOW), at=NOW)

    found = traces.page(wanted=TraceFilter(node="node-a"), cursor=Cursor())

    assert [row.pk for row in found.rows] == [newest.pk, first.pk]


@pytest.mark.django_db
def test_no_moment_is_beyond_the_keys() -> None:
    factory.trace(factory.seen_node("node-a", now=NOW), at=NOW)

    for never in (
        TraceFilter(since=datetime.max.replace(tzinfo=UTC)),
        TraceFilter(until=datetime(1900, 1, 1, tzinfo=UTC)),
    ):
        assert traces.page(wanted=never, cursor=Cursor()).rows == []


def test_a_key_and_its_moment() -> None:
    assert moment_of(key_of(NOW)) == NOW


@pytest.mark.parametrize(
    ("wanted", "narrow"),
    [
        (TraceFilter(node="a", provider="b", code="c", failed_over=True), False),
        (TraceFilter(model="a"), True),
        (TraceFilter(tokens_min=0.0), True),
        (TraceFilter(until=NOW), True),
    ],
)
def test_what_the_short_form_has_no_field_for_is_narrow(wanted: TraceFilter, narrow: bool) -> None:
    assert wanted.is_narrow is narrow
