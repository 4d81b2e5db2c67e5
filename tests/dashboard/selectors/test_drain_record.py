"""The record of one drain."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.models import Drain, Node
from dashboard.selectors import drain_record
from dashboard.services import drain as drains
from dashboard.services.actor import SYSTEM
from tests.dashboard.services.trail import ALICE
from tests.dashboard.web import factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def drained() -> Drain:
    """A drain of node-a that counted down from 3."""
    node = factory.seen_node("node-a", now=NOW)
    drain = drains.request(
        node=node, actor=ALICE, reason="kernel update", override_guards=True, now=NOW
    ).drain
    for seconds, (step, left) in enumerate(
        [("gate_closed", 3), ("in_flight", 2), ("in_flight", 1), ("in_flight", 0), ("drained", 0)], 1
    ):
        at = NOW + timedelta(seconds=seconds)
        factory.step(drain, step, at=at, in_flight=left, lag_seconds=0.5)
    return drain


def test_every_step_has_the_time_there_and_the_time_here(drained: Drain) -> None:
    record = drain_record.read(pk=drained.pk, now=NOW)

    assert record is not None
    first, second = record.steps[:2]
    assert (first.step, first.here, first.lag_seconds, first.after_seconds) == ("requested", True, None, 0.0)
    assert (second.step, second.here, second.lag_seconds, second.in_flight) == ("gate_closed", False, 0.5, 3)
    assert second.heard_at - second.at == timedelta(seconds=0.5)
    assert [step.step for step in record.steps].count("in_flight") == 3


def test_beside_the_present_counting_down_is_one_line(drained: Drain) -> None:
    present = drain_record.present(node_id=drained.node.pk)

    assert present is not None and present.drain == drained
    assert [(step.step, step.times) for step in present.steps] == [
        ("requested", 1),
        ("gate_closed", 1),
        ("in_flight", 3),
        ("drained", 1),
    ]
    counted = present.steps[2]
    assert (counted.in_flight, counted.last_at - counted.at) == (0, timedelta(seconds=2))


def test_a_node_without_an_order_to_drain_has_none(drained: Drain) -> None:
    drains.cancel(node=drained.node, actor=ALICE, now=NOW)

    assert drain_record.present(node_id=drained.node.pk) is None


def test_of_many_steps_the_newest_are_shown_and_the_rest_is_counted(
    drained: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_record, "STEPS_MAX", 2)

    record = drain_record.read(pk=drained.pk, now=NOW)

    assert record is not None
    assert ([step.step for step in record.steps], record.more) == (["in_flight", "drained"], 4)


def test_whoever_asked_changed_and_ended_it_is_told_with_the_address(drained: Drain) -> None:
    drains.request(node=drained.node, actor=ALICE, deadline_seconds=60, now=NOW)
    drains.cancel(node=drained.node, actor=ALICE, reason="done", now=NOW)
    drains.request(node=drained.node, actor=SYSTEM, reason="another one", override_guards=True, now=NOW)
    drained.refresh_from_db()

    entries = drain_record.entries(drain=drained)

    assert [(entry.action, entry.reason, entry.address) for entry in entries] == [
        ("drain", "kernel update", "192.0.2.1"),
        ("drain", "", "192.0.2.1"),
        ("undrain", "done", "192.0.2.1"),
    ]


def test_there_is_no_record_of_what_never_was(db: None) -> None:
    assert drain_record.read(pk=7, now=NOW) is None
    assert not Node.objects.exists()


def test_the_runs_that_it_moved_are_named(drained: Drain) -> None:
    factory.run("run_1", at=NOW, epochs=[factory.epoch(1, "node-a", 2), factory.epoch(2, "node-b", 9)])
    for n, run_id in enumerate(("run_1", "run_2")):  # of the other nobody told
        at = NOW + timedelta(seconds=n)
        factory.step(drained, "moved", at=at, in_flight=n, detail=run_id)

    record = drain_record.read(pk=drained.pk, now=NOW)

    assert record is not None
    assert [(run.run_id, run.owner) for run in record.moved] == [("run_1", "node-b")]
    assert (record.row.moved, record.row.killed) == (2, 0)
