"""What is old goes in small batches, what is of interest later, and what has to stay stays."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dashboard.models import (
    HourRollup,
    Node,
    OutboxRow,
    OutboxState,
    Removal,
    Trace,
    TraceDetail,
    Transition,
)
from dashboard.retention import Retention
from dashboard.services import retention
from meshcore.breaker import BreakerState
from tests.dashboard.web import factory

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def kept(settings: Any) -> Retention:
    """Seven days, failures thirty, and room for all."""
    settings.MESH_RETENTION = Retention()
    return Retention()


def calls(node: Node, *ages: float, now: datetime, **fields: Any) -> list[int]:
    """Store calls of so many days ago, each with its story."""
    return [factory.trace(node, at=now - age * DAY, attempts=[], **fields).pk for age in ages]


def sweep(now: datetime) -> int:
    removed = 0
    for _ in range(100):
        step = retention.sweep_traces(now=now)
        removed += step
        if not step:
            break
    return removed


def left() -> set[int]:
    keys = set(Trace.objects.values_list("pk", flat=True))
    assert keys == set(TraceDetail.objects.values_list("trace_id", flat=True))
    return keys


def test_dull_traces_go_after_days_failures_and_failovers_later(
    node: Node, now: datetime, kept: Retention
) -> None:
    calls(node, 31, 8, now=now)
    calls(node, 31, now=now, outcome="error", code="timeout")
    stay = calls(node, 6.9, 0, now=now)
    stay += calls(node, 29, 1, now=now, outcome="error", code="timeout")
    stay += calls(node, 29, 8, now=now, hops=2)

    assert sweep(now) == 3

    assert left() == set(stay)
    removal = Removal.objects.get()
    assert (removal.removed, removal.early, removal.removed_at) == (3, 0, now)


def test_going_on_later_finds_what_has_aged_meanwhile(node: Node, now: datetime, kept: Retention) -> None:
    young = calls(node, 6.5, now=now)
    failed = calls(node, 29.5, now=now, outcome="error")
    assert sweep(now) == 0

    assert sweep(now + DAY) == 2

    assert not left() & {*young, *failed}


def test_beyond_the_number_the_dull_go_early_and_then_all(node: Node, now: datetime, settings: Any) -> None:
    settings.MESH_RETENTION = few = Retention()
    object.__setattr__(few, "traces", 4)
    dull = calls(node, 5, 4, 3, now=now)
    failures = calls(node, 6, 5, 2, 1, now=now, outcome="error")

    assert sweep(now) == 3
    assert left() == set(failures)
    assert Removal.objects.get().early == 3
    assert not left() & set(dull)

    newest = calls(node, 0.5, now=now, outcome="error")
    assert sweep(now) == 1
    assert left() == {*failures[1:], *newest}


def test_a_turn_and_a_batch_are_bounded(
    node: Node, now: datetime, kept: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 3)
    monkeypatch.setattr(retention, "LOOKED_AT", 4)
    calls(node, *[20.0] * 5, now=now, outcome="error")
    calls(node, *[10.0] * 30, now=now)

    with CaptureQueriesContext(connection) as queries:
        assert retention.sweep_traces(now=now) == 3 * 3  # of four steps one sees failures alone
    trace_deletes = 'DELETE FROM "dashboard_trace"'
    batches = [each["sql"] for each in queries if each["sql"].startswith(trace_deletes)]

    assert len(batches) == retention.BATCHES - 1
    assert sweep(now) == 30 - 9


def test_who_finds_that_another_did_it_removes_nothing(node: Node, now: datetime, kept: Retention) -> None:
    calls(node, 10, 9, now=now)
    state = retention._state(retention.History.TRACES)
    batch = retention._next(state, kept, now)
    assert batch is not None

    assert retention._remove(state, batch, now)
    assert not retention._remove(state, batch, now)

    assert Removal.objects.get().removed == 2


def test_other_history_goes_and_what_waits_stays(node: Node, now: datetime, kept: Retention) -> None:
    for age in (31, 29):
        factory.transition(node, "groq", at=now - age * DAY, to=BreakerState.OPEN)
    for age in (401, 399):
        HourRollup.objects.create(node=node, hour=now - age * DAY, provider="a", capability="b", outcome="ok")
    for number, (state, age) in enumerate(
        [(OutboxState.DONE, 8), (OutboxState.FAILED, 8), (OutboxState.DONE, 6), (OutboxState.WAITING, 8)]
    ):
        OutboxRow.objects.create(
            buffer_id=f"b{number}",
            run_id=f"r{number}",
            log_prefix="abcdef",
            event={},
            state=state.value,
            audit_n=1,
            created_at=now - age * DAY,
            expires_at=now - age * DAY,
        )

    assert retention.trim_transitions(now=now) == 1
    assert retention.trim_hours(now=now) == 1
    assert retention.trim_outbox(now=now) == 2

    assert [row.at for row in Transition.objects.all()] == [now - 29 * DAY]
    assert [row.hour for row in HourRollup.objects.all()] == [now - 399 * DAY]
    assert set(OutboxRow.objects.values_list("buffer_id", flat=True)) == {"b2", "b3"}
    assert dict(Removal.objects.values_list("kind", "removed")) == {"transitions": 1, "hours": 1, "outbox": 2}
    assert retention.trim_transitions(now=now) == 0
