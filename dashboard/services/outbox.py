"""Orders that are carried out once: kept until a node says that it took them, or until their time is over.

    waiting -- sent on every connection --> done | failed

Cancelling a run is such an order: any node of the run's log can carry it out, and its owner does so soonest.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import transaction

from dashboard.models import Action, Node, OutboxRow, OutboxState, Outcome
from dashboard.selectors import outbox
from dashboard.services import actor as actors
from dashboard.services import audit, changes
from dashboard.services.actor import SYSTEM, Actor
from dashboard.services.words import complaint_about
from meshcore.clock import utcnow
from meshcore.frames import Inbound

__all__ = ["CancelObserved", "CancelOrder", "InvalidCancel", "acknowledged", "cancel_run", "settle", "take"]

KEPT = timedelta(hours=24)
CANCEL_RUN = "cancel_run"  # the `type` of the event
BUFFER_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
RUN_ID = re.compile(r"run_(?P<log>[0-9A-Za-z]{6})_[0-9A-Za-z_-]{1,64}", re.ASCII)
SETTLED_AT_ONCE = 100  # in one turn of housekeeping


class InvalidCancel(ValueError):
    """`field` can't be taken; `message` says the value and what is allowed."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class CancelObserved(StrEnum):
    """How far the cancelling of a run has come."""

    OBSERVED = "observed"
    PENDING = "pending"
    LOG_UNREACHABLE = "log_unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    """The order to cancel a run; asking for it again is the same order."""

    buffer_id: str
    observed: CancelObserved


def cancel_run(*, run_id: str, reason: str, actor: Actor, now: datetime | None = None) -> CancelOrder:
    """Have a run cancelled by a node of its log; with none there the order waits, at most `KEPT`.

    Raises InvalidCancel.
    """
    now = now or utcnow()
    match = RUN_ID.fullmatch(run_id)
    if match is None:
        raise InvalidCancel("run_id", f"{run_id[:80]!r}: expected run_<6 of its log>_<its own>")
    complaint = complaint_about(reason)
    if complaint:
        raise InvalidCancel("reason", complaint)
    with transaction.atomic():
        head = audit.locked_head()
        row = _present(run_id) or _new(run_id, match["log"], reason, actor, audit_n=head.audit_n + 1, now=now)
        owner = outbox.owners([run_id]).get(run_id, "")
        there = outbox.carriers(row.log_prefix, now=now, first=owner)
        observed = _observed(row, there)
        audit.record(
            head=head,
            actor=actor,
            action=Action.RUN_CANCEL,
            target=_target(row),
            after={"buffer_id": row.buffer_id, "observed": observed.value},
            reason=reason,
            now=now,
        )
        changes.publish(*(f"orders:{node.name}" for node in there[:1]), "audit", now=now)
    return CancelOrder(buffer_id=row.buffer_id, observed=observed)


def take(*, node: Node, connection_no: int, now: datetime) -> list[Inbound]:
    """Return what must be said to a node on this connection, and note it as sent there."""
    rows = outbox.waiting_for(node, connection_no=connection_no, now=now)
    if not rows:  # as nearly always: no transaction
        return []
    with transaction.atomic():
        return [_inbound(row) for row in rows if _sent(row, node, connection_no, now=now)]


def acknowledged(*, node: Node, buffer_id: str, now: datetime) -> bool:
    """Note that a node took an order; False for a second time, and for what isn't that node's."""
    if not BUFFER_ID.fullmatch(buffer_id):
        return False
    with transaction.atomic():
        head = audit.locked_head()
        row = OutboxRow.objects.filter(buffer_id=buffer_id, node=node).first()
        if row is None or not _end(row, OutboxState.DONE, now=now):
            return False
        audit.record(
            head=head,
            actor=actors.of_node(node),
            action=Action.RUN_CANCEL_EFFECT,
            target=_target(row),
            after={"buffer_id": buffer_id},
            cause_n=row.audit_n,
            now=now,
        )
        changes.publish("audit", now=now)
    return True


def settle(*, now: datetime) -> int:
    """Give up what has waited too long, and wake a node for what one left behind; returns how many ended."""
    waiting = OutboxRow.objects.filter(state=OutboxState.WAITING.value).order_by("expires_at")
    over = [row for row in waiting.filter(expires_at__lte=now)[:SETTLED_AT_ONCE] if _fail(row, now=now)]
    _wake(list(waiting.filter(expires_at__gt=now)[:SETTLED_AT_ONCE]), now=now)
    return len(over)


def _present(run_id: str) -> OutboxRow | None:
    """Return the order that waits or was carried out; one that failed may be given again."""
    rows = OutboxRow.objects.filter(run_id=run_id).exclude(state=OutboxState.FAILED.value)
    return rows.order_by("-id").first()


def _new(run_id: str, log: str, reason: str, actor: Actor, *, audit_n: int, now: datetime) -> OutboxRow:
    return OutboxRow.objects.create(
        buffer_id=secrets.token_hex(16),
        run_id=run_id,
        log_prefix=log,
        event={"type": CANCEL_RUN, "run_id": run_id, "by": actor.name, "reason": reason},
        audit_n=audit_n,
        created_at=now,
        expires_at=now + KEPT,
    )


def _observed(row: OutboxRow, there: list[Node]) -> CancelObserved:
    if row.state == OutboxState.DONE.value:
        return CancelObserved.OBSERVED
    return CancelObserved.PENDING if there else CancelObserved.LOG_UNREACHABLE


def _inbound(row: OutboxRow) -> Inbound:
    event: dict[str, Any] = row.event
    return Inbound(event=event, bufferId=row.buffer_id)


def _sent(row: OutboxRow, node: Node, connection_no: int, *, now: datetime) -> bool:
    """Note where an order goes; False when another connection was faster."""
    mine = OutboxRow.objects.filter(
        pk=row.pk, state=OutboxState.WAITING.value, node=row.node, connection_no=row.connection_no
    )
    return mine.update(node=node, connection_no=connection_no, sent_at=now) == 1


def _end(row: OutboxRow, state: OutboxState, *, now: datetime) -> bool:
    waiting = OutboxRow.objects.filter(pk=row.pk, state=OutboxState.WAITING.value)
    return waiting.update(state=state.value, ended_at=now) == 1


def _fail(row: OutboxRow, *, now: datetime) -> bool:
    with transaction.atomic():
        head = audit.locked_head()
        if not _end(row, OutboxState.FAILED, now=now):
            return False
        audit.record(
            head=head,
            actor=SYSTEM,
            action=Action.RUN_CANCEL,
            target=_target(row),
            after={"buffer_id": row.buffer_id},
            reason=f"no node of the run's log took it within {KEPT.total_seconds() / 3600:g} h",
            outcome=Outcome.FAILED,
            cause_n=row.audit_n,
            now=now,
        )
        changes.publish("audit", now=now)
    return True


def _wake(rows: list[OutboxRow], *, now: datetime) -> None:
    """Wake the first node that is there for each log of which something waits with nobody."""
    there = {prefix: outbox.carriers(prefix, now=now) for prefix in {row.log_prefix for row in rows}}
    left = {row.log_prefix for row in rows if row.node not in there[row.log_prefix]}
    names = {node.name for prefix in left for node in there[prefix][:1]}
    if names:
        changes.publish(*(f"orders:{name}" for name in sorted(names)), now=now)


def _target(row: OutboxRow) -> str:
    return f"run:{row.run_id}"
