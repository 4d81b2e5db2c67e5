"""An audit trail for tests, and somebody who tampers with it."""

from datetime import datetime
from typing import Any

from django.db import connection, transaction

from dashboard.models import Action, ActorKind, AuditEntry
from dashboard.services import audit, audit_triggers
from dashboard.services.actor import Actor

ALICE = Actor(kind=ActorKind.USER, name="alice", id="7", address="192.0.2.1", request_id="r-1")
COLUMNS = ", ".join(field.name for field in AuditEntry._meta.fields if field.name != "n")


def write(now: datetime, count: int = 1, **fields: Any) -> list[AuditEntry]:
    """Append `count` entries, each in its own transaction."""
    facts = {"actor": ALICE, "action": Action.DRAIN, "target": "node:node-a", "reason": "update", **fields}
    entries = []
    for _ in range(count):
        with transaction.atomic():
            entries.append(audit.record(head=audit.locked_head(), now=now, **facts))
    return entries


def forge(sql: str, *values: Any) -> None:
    """Run SQL as somebody would who can drop triggers."""
    audit_triggers.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
    audit_triggers.install(connection)
