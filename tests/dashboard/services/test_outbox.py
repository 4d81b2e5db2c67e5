"""Cancelling a run: an order that waits until a node of the run's log took it, once."""

from datetime import datetime, timedelta

import pytest

from dashboard.models import Action, AuditEntry, Change, Node, NodeLink, OutboxRow, Outcome
from dashboard.services import nodes, outbox
from dashboard.services.actor import SYSTEM
from dashboard.services.outbox import CancelObserved, CancelOrder, InvalidCancel
from meshcore.frames import Inbound
from tests.dashboard.services.test_drain import ALICE, CI

pytestmark = pytest.mark.django_db
RUN = "run_abc123_5f0c"


def there(name: str, now: datetime, *, log_id: str = "abc123ffff", connection_no: int = 1) -> Node:
    """Let node `name` be connected and heard right now, making it when it isn't known."""
    node = Node.objects.filter(name=name).first() or nodes.add(name=name, actor=SYSTEM, now=now)[0]
    Node.objects.filter(pk=node.pk).update(state="running", last_heard_at=now, log_id=log_id)
    NodeLink.objects.filter(node=node).update(opened_at=now, closed_at=None, connection_no=connection_no)
    return Node.objects.get(pk=node.pk)


def gone(node: Node, at: datetime) -> None:
    NodeLink.objects.filter(node=node).update(closed_at=at)


def cancel(now: datetime, run_id: str = RUN, reason: str = "") -> CancelOrder:
    return outbox.cancel_run(run_id=run_id, reason=reason, actor=ALICE, now=now)


def later(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=seconds)


def entries(action: Action) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=action.value).order_by("n"))


def woken() -> set[str]:
    return set(Change.objects.filter(key__startswith="orders:").values_list("key", flat=True))


def test_a_cancelled_run_is_said_to_a_node_of_its_log_and_audited(db: None, now: datetime) -> None:
    node = there("node-a", now)
    there("node-b", now, log_id="another")
    Change.objects.all().delete()

    order = cancel(now, reason="runs away")

    assert order.observed is CancelObserved.PENDING
    assert woken() == {"orders:node-a"}
    event = {"type": "cancel_run", "run_id": RUN, "by": "alice", "reason": "runs away"}
    said = outbox.take(node=node, connection_no=1, now=now)
    assert said == [Inbound(event=event, bufferId=order.buffer_id)]
    [entry] = entries(Action.RUN_CANCEL)
    assert (entry.target, entry.actor_name, entry.reason) == (f"run:{RUN}", "alice", "runs away")
    assert entry.after == {"buffer_id": order.buffer_id, "observed": "pending"}


def test_it_is_said_once_on_each_connection(db: None, now: datetime) -> None:
    node = there("node-a", now)
    order = cancel(now)

    first = outbox.take(node=node, connection_no=1, now=now)
    again = outbox.take(node=node, connection_no=1, now=now)
    reconnected = outbox.take(node=node, connection_no=2, now=now)

    assert [len(each) for each in (first, again, reconnected)] == [1, 0, 1]
    assert reconnected[0].bufferId == order.buffer_id


def test_what_a_node_took_is_done_and_its_effect_is_linked_to_the_cause(db: None, now: datetime) -> None:
    node = there("node-a", now)
    order = cancel(now)
    outbox.take(node=node, connection_no=1, now=now)

    assert outbox.acknowledged(node=node, buffer_id=order.buffer_id, now=now)

    assert outbox.take(node=node, connection_no=2, now=now) == []
    [cause], [effect] = entries(Action.RUN_CANCEL), entries(Action.RUN_CANCEL_EFFECT)
    assert (effect.actor_kind, effect.actor_name, effect.cause_n) == ("node", "node-a", cause.n)
    assert (effect.target, effect.outcome) == (f"run:{RUN}", Outcome.DONE.value)


def test_a_second_acknowledgement_and_a_strangers_count_for_nothing(db: None, now: datetime) -> None:
    node, other = there("node-a", now), there("node-b", now)
    order = cancel(now)
    outbox.take(node=node, connection_no=1, now=now)

    assert not outbox.acknowledged(node=other, buffer_id=order.buffer_id, now=now)
    assert outbox.acknowledged(node=node, buffer_id=order.buffer_id, now=now)
    assert not outbox.acknowledged(node=node, buffer_id=order.buffer_id, now=now)
    assert not outbox.acknowledged(node=node, buffer_id="nobody's", now=now)

    assert len(entries(Action.RUN_CANCEL_EFFECT)) == 1


def test_asking_again_is_the_same_order_and_another_entry(db: None, now: datetime) -> None:
    node = there("node-a", now)
    first = cancel(now)
    again = outbox.cancel_run(run_id=RUN, reason="", actor=CI, now=now)
    outbox.take(node=node, connection_no=1, now=now)
    outbox.acknowledged(node=node, buffer_id=first.buffer_id, now=now)

    done = cancel(later(now, 60))

    assert again == first
    assert done == CancelOrder(buffer_id=first.buffer_id, observed=CancelObserved.OBSERVED)
    assert [entry.actor_name for entry in entries(Action.RUN_CANCEL)] == ["alice", "ci", "alice"]
    assert OutboxRow.objects.count() == 1


def test_with_no_node_of_its_log_there_the_order_waits_for_one(db: None, now: datetime) -> None:
    node = there("node-a", now)
    gone(node, later(now, -10))

    order = cancel(now)

    assert order.observed is CancelObserved.LOG_UNREACHABLE
    back = there("node-a", later(now, 60), connection_no=2)
    assert [each.bufferId for each in outbox.take(node=back, connection_no=2, now=later(now, 60))] == [
        order.buffer_id
    ]


def test_what_one_node_has_in_hand_no_other_is_told_while_it_is_there(db: None, now: datetime) -> None:
    node, other = there("node-a", now), there("node-b", now)
    cancel(now)
    outbox.take(node=node, connection_no=1, now=now)

    assert outbox.take(node=other, connection_no=1, now=now) == []

    gone(node, later(now, -10))
    assert len(outbox.take(node=other, connection_no=1, now=now)) == 1


def test_what_a_node_left_behind_wakes_another_and_nothing_else_does(db: None, now: datetime) -> None:
    node = there("node-b", now)
    cancel(now)
    outbox.take(node=node, connection_no=1, now=now)
    there("node-a", now)
    Change.objects.all().delete()

    outbox.settle(now=now)
    assert woken() == set()

    gone(node, later(now, -10))
    outbox.settle(now=now)
    assert woken() == {"orders:node-a"}


def test_an_order_that_nobody_took_fails_on_record_and_may_be_given_again(db: None, now: datetime) -> None:
    order = cancel(now)

    assert outbox.settle(now=later(now, outbox.KEPT.total_seconds() - 1)) == 0
    assert outbox.settle(now=later(now, outbox.KEPT.total_seconds())) == 1
    assert outbox.settle(now=later(now, outbox.KEPT.total_seconds())) == 0

    cause, failure = entries(Action.RUN_CANCEL)
    assert (failure.actor_kind, failure.outcome, failure.cause_n) == ("system", "failed", cause.n)
    assert cancel(later(now, 100_000)).buffer_id != order.buffer_id


def test_a_node_without_a_log_is_told_nothing(db: None, now: datetime) -> None:
    node = there("node-a", now, log_id="")
    cancel(now)

    assert outbox.take(node=node, connection_no=1, now=now) == []


@pytest.mark.parametrize(
    ("run_id", "reason", "field"),
    [
        ("", "", "run_id"),
        ("run_abc_1", "", "run_id"),
        ("run_abc123_", "", "run_id"),
        ("run_abc123_ä", "", "run_id"),
        (RUN, "r" * 501, "reason"),
    ],
)
def test_what_cant_be_a_run_is_refused(db: None, now: datetime, run_id: str, reason: str, field: str) -> None:
    with pytest.raises(InvalidCancel) as refused:
        cancel(now, run_id, reason)

    assert refused.value.field == field
    assert not OutboxRow.objects.exists()
