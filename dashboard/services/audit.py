"""The audit trail: written as the last statement of the transaction that makes the change.

Lock order everywhere: control head, then rows, then the audit entry, then the change feed.
"""

import logging
from datetime import datetime
from typing import Any

from django.db import transaction

from dashboard.models import Action, AuditEntry, ControlHead, Outcome
from dashboard.services import audit_chain, audit_columns, changes
from dashboard.services.actor import Actor
from dashboard.services.audit_chain import Head
from dashboard.services.audit_rows import HEAD_ID
from dashboard.services.audit_verify import TrailTooLong, Verdict, verify
from dashboard.services.audit_walk import Fault

__all__ = [
    "Fault",
    "Head",
    "TrailTooLong",
    "Verdict",
    "locked_head",
    "node_target",
    "record",
    "refuse",
    "verify",
]

logger = logging.getLogger(__name__)

REASON_MAX_CHARACTERS = 2000  # longer texts of refusals are cut


def locked_head() -> ControlHead:
    """Return the control head, locked until the transaction ends: first statement of every control write."""
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("a control write needs a transaction around it")
    head, _ = ControlHead.objects.select_for_update().get_or_create(id=HEAD_ID)
    return head


def record(
    *,
    head: ControlHead,
    actor: Actor,
    action: Action,
    target: str,
    now: datetime,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
    outcome: Outcome = Outcome.DONE,
    generation: int | None = None,
    cause_n: int | None = None,
    count: int = 1,
) -> AuditEntry:
    """Append an entry behind `head`, which `locked_head` gave; `before` and `after` are plain JSON.

    `cause_n` is the number of the entry whose effect this one is.
    """
    entry = AuditEntry(
        n=head.audit_n + 1,
        at=now,
        actor_kind=actor.kind.value,
        actor_name=actor.name,
        actor_id=actor.id,
        token_prefix=actor.token_prefix,
        address=actor.address,
        request_id=actor.request_id,
        action=action.value,
        target=target,
        before=before,
        after=after,
        reason=reason[:REASON_MAX_CHARACTERS],
        outcome=outcome.value,
        generation=generation,
        cause_n=cause_n,
        count=count,
    )
    audit_columns.fit(entry)
    entry.canonical = audit_chain.text_of(entry)
    entry.hash = audit_chain.link(head.audit_hash, entry.canonical)
    entry.save(force_insert=True)
    head.audit_n, head.audit_hash = entry.n, entry.hash
    head.save(update_fields=["audit_n", "audit_hash"])
    return entry


def refuse(*, actor: Actor, action: Action, target: str, reason: str, now: datetime) -> AuditEntry:
    """Record, in a transaction of its own, that an entitled actor was refused and nothing changed."""
    with transaction.atomic():
        entry = record(
            head=locked_head(),
            actor=actor,
            action=action,
            target=target,
            reason=reason,
            outcome=Outcome.REFUSED,
            now=now,
        )
        changes.publish("audit", now=now)
    logger.info("refused %s of %s: entry %d", action.value, target, entry.n)
    return entry


def node_target(name: str) -> str:
    """Return how entries name a node."""
    return f"node:{name}"
