"""What every change of a drain writes: its row, its step, the desired state, the audit entry, the change
feed.

All of it runs in the caller's transaction, which holds the control head and the node's desired state.
"""

from datetime import datetime
from typing import Any

from dashboard.models import (
    Action,
    ControlHead,
    DesiredState,
    Drain,
    DrainStatus,
    DrainStep,
    Node,
    Step,
    StepSource,
)
from dashboard.services import audit, changes, desired
from dashboard.services.actor import SYSTEM, Actor
from dashboard.services.drain_wish import facts

LAST_STEP = {
    DrainStatus.CANCELLED: Step.CANCELLED,
    DrainStatus.EXPIRED: Step.EXPIRED,
    DrainStatus.ENDED_BY_RESTART: Step.ENDED_BY_RESTART,
}


def active(head: ControlHead, state: DesiredState, node: Node, *, now: datetime) -> Drain | None:
    """Return the drain that is on, after ending the one whose time is over but that nobody came by to end."""
    drain = Drain.objects.select_related("node").filter(node=node, status=DrainStatus.ACTIVE.value).first()
    if drain is None or drain.expires_at is None or drain.expires_at > now:
        return drain
    end(head, state, drain, DrainStatus.EXPIRED, actor=SYSTEM, reason="expired", now=now)
    publish(node, now=now)
    return None


def end(
    head: ControlHead,
    state: DesiredState,
    drain: Drain,
    status: DrainStatus,
    *,
    actor: Actor,
    reason: str,
    now: datetime,
) -> None:
    """End a drain: the next generation wants none."""
    drain.status, drain.ended_at = status.value, now
    drain.generation = desired.put_drain(state, None, now=now)
    drain.save(update_fields=["status", "ended_at", "generation"])
    step(drain, LAST_STEP[status], detail=f"by {actor.name}", now=now)
    record_end(head, state, drain.node, actor=actor, before=facts(drain), reason=reason, now=now)


def record_end(
    head: ControlHead,
    state: DesiredState,
    node: Node,
    *,
    actor: Actor,
    before: dict[str, Any] | None,
    reason: str,
    now: datetime,
) -> None:
    """Audit that a drain ended, or with `before` None that there was none to end."""
    audit.record(
        head=head,
        actor=actor,
        action=Action.UNDRAIN,
        target=audit.node_target(node.name),
        before=before,
        reason=reason,
        generation=state.generation,
        now=now,
    )


def step(drain: Drain, step: Step, *, detail: str, now: datetime) -> None:
    """Write a step that happened here."""
    DrainStep.objects.create(
        drain=drain,
        step=step.value,
        source=StepSource.DASHBOARD.value,
        at=now,
        received_at=now,
        generation=drain.generation,
        detail=detail,
    )


def publish(node: Node, *, now: datetime) -> None:
    """Say that a node's drain changed, which is an order to it; last in the transaction."""
    changes.publish(f"orders:{node.name}", f"node:{node.name}", "nodes", "drains", "audit", now=now)
