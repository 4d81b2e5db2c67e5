"""401 and 403 in the audit: a minute later, counted, and without anything that the caller typed."""

import threading
from datetime import datetime, timedelta
from unittest.mock import patch

import pytest
from django.db import OperationalError

from dashboard.models import Action, ActorKind, AuditEntry, Change, Node
from dashboard.services import audit, audit_refusals
from dashboard.services.actor import SYSTEM, Actor, of_token
from dashboard.services.audit_gatherer import KEYS_MAX

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def note(now: datetime, actor: Actor | None = None, *, status: int = 401, address: str = "192.0.2.7") -> None:
    audit_refusals.note(
        actor=actor or audit_refusals.stranger(address),
        action=Action.ACCESS,
        target="GET api/v1/nodes",
        status=status,
        reason="The token is unknown.",
        now=now,
    )


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", "no address"),
        ("somewhere", "no address"),
    ],
)
def test_a_stranger_is_called_by_the_network(address: str, network: str) -> None:
    who = audit_refusals.stranger(address)

    assert (who.kind, who.name, who.address) == (ActorKind.STRANGER, network, address)


def test_refusals_are_written_when_their_minute_is_over(now: datetime) -> None:
    for seconds in (0, 1, 59):
        note(now + timedelta(seconds=seconds), address=f"192.0.2.{seconds}")

    assert audit_refusals.flush(now=now + timedelta(seconds=59)) == 0
    assert not AuditEntry.objects.exists()

    assert audit_refusals.flush(now=now + MINUTE) == 1
    entry = AuditEntry.objects.get()
    assert (entry.actor_kind, entry.actor_name, entry.address) == ("stranger", "192.0.2.0/24", "192.0.2.0")
    assert (entry.action, entry.target, entry.outcome, entry.count) == (
        "access",
        "GET api/v1/nodes",
        "refused",
        3,
    )
    assert entry.after == {
        "status": 401,
        "first_at": "2026-01-01T12:00:00+00:00",
        "last_at": "2026-01-01T12:00:59+00:00",
    }
    assert entry.reason == "The token is unknown."
    assert Change.objects.get().key == "audit"
    assert audit_refusals.flush(now=now + 2 * MINUTE) == 0


def test_somebody_known_is_counted_wherever_they_call_from(node: Node, now: datetime) -> None:
    token = node.tokens.get()
    for request, address in enumerate(("192.0.2.7", "198.51.100.7")):
        note(now, of_token(token, address=address, request_id=f"r-{request}"), status=403)

    audit_refusals.flush_all(now=now)

    entry = AuditEntry.objects.latest("n")
    assert (entry.actor_kind, entry.actor_name, entry.token_prefix) == ("token", "node-a", token.prefix)
    assert (entry.count, entry.address, entry.request_id) == (2, "192.0.2.7", "r-0")


def test_what_is_too_much_to_be_told_apart_is_counted_in_one_entry(now: datetime) -> None:
    for n in range(KEYS_MAX + 20):
        note(now, address=f"10.0.{n}.1")

    assert audit_refusals.flush_all(now=now) == KEYS_MAX + 1

    entry = AuditEntry.objects.get(actor_kind="system")
    assert (entry.actor_name, entry.count) == (SYSTEM.name, 20)
    assert entry.target == "further refusals, beyond 100 kinds a minute"
    assert audit.verify().ok


def test_a_database_that_is_busy_gets_them_later(now: datetime) -> None:
    note(now)

    with (
        patch.object(audit, "locked_head", side_effect=OperationalError("database is locked")),
        pytest.raises(OperationalError),
    ):
        audit_refusals.flush(now=now + MINUTE)
    assert audit_refusals.flush(now=now + MINUTE) == 1


def test_threads_count_together(now: datetime) -> None:
    threads = [threading.Thread(target=lambda: [note(now) for _ in range(200)]) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    audit_refusals.flush_all(now=now)
    assert AuditEntry.objects.get().count == 800
