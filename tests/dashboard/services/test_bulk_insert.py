"""One statement for any number of rows."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dashboard.models import MinuteRollup, Node, Transition
from dashboard.services import bulk_insert

pytestmark = pytest.mark.django_db
UNIQUE = ("node", "minute", "provider", "capability", "outcome")


def minute(node: Node, at: datetime, count: int) -> MinuteRollup:
    return MinuteRollup(
        node=node,
        minute=at,
        provider="alpha",
        capability="llm.chat",
        outcome="ok",
        count=count,
        counts={"1": count},
    )


def transition(node: Node, at: datetime) -> Transition:
    return Transition(node=node, key="alpha", at=at, received_at=at, from_state="closed", to_state="open")


def test_no_rows_are_no_query() -> None:
    with CaptureQueriesContext(connection) as queries:
        bulk_insert.insert([])

    assert len(queries) == 0


def test_a_thousand_rows_are_one_query_and_read_back_the_same(node: Node, now: datetime) -> None:
    rows = [transition(node, now + timedelta(seconds=n)) for n in range(1000)]

    with CaptureQueriesContext(connection) as queries:
        bulk_insert.insert(rows)

    assert len(queries) == 1
    stored = Transition.objects.order_by("at")
    assert [row.at for row in stored] == [row.at for row in rows]
    assert (stored[0].key, stored[0].to_state, stored[0].count) == ("alpha", "open", 1)


def test_a_row_that_is_there_gets_the_new_values_and_keeps_the_rest(node: Node, now: datetime) -> None:
    bulk_insert.insert([minute(node, now, 1)])
    before = MinuteRollup.objects.get()

    changed = minute(node, now, 5)
    changed.failovers = 9
    bulk_insert.insert(
        [changed, minute(node, now + timedelta(minutes=1), 2)], unique=UNIQUE, replacing=("count", "counts")
    )

    row = MinuteRollup.objects.get(minute=now)
    assert (row.pk, row.count, row.counts, row.failovers) == (before.pk, 5, {"1": 5}, 0)
    assert MinuteRollup.objects.count() == 2
