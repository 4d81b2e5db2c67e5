"""The audit trail: chained, gapless, in the transaction of the change."""

from datetime import datetime
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from dashboard.models import Action, ActorKind, AuditEntry, Change, ControlHead, Outcome
from dashboard.services import audit, audit_chain, audit_triggers
from dashboard.services.actor import SYSTEM, Actor
from dashboard.services.audit import Fault, Head

pytestmark = pytest.mark.django_db
ALICE = Actor(kind=ActorKind.USER, name="alice", id="7", address="192.0.2.1", request_id="r-1")


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


def test_entries_are_numbered_without_gaps_and_each_hash_covers_the_one_before(now: datetime) -> None:
    first, second = write(now, 2, before={"force": False}, after={"force": True}, generation=3)

    assert (first.n, second.n) == (1, 2)
    assert first.hash == audit_chain.link(audit_chain.GENESIS, first.canonical)
    assert second.hash == audit_chain.link(first.hash, second.canonical)
    head = ControlHead.objects.get()
    assert (head.audit_n, head.audit_hash) == (2, second.hash)


def test_an_entry_keeps_who_what_where_and_why_as_text(now: datetime) -> None:
    write(now)

    entry = AuditEntry.objects.get()

    assert (entry.actor_kind, entry.actor_name, entry.actor_id) == ("user", "alice", "7")
    assert (entry.address, entry.request_id, entry.reason) == ("192.0.2.1", "r-1", "update")
    assert (entry.action, entry.target, entry.outcome, entry.at) == ("drain", "node:node-a", "done", now)


def test_an_entry_that_is_rolled_back_leaves_no_gap(now: datetime) -> None:
    write(now)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        audit.record(head=audit.locked_head(), actor=SYSTEM, action=Action.DRAIN, target="node:b", now=now)
        raise ZeroDivisionError

    write(now)

    assert list(AuditEntry.objects.order_by("n").values_list("n", flat=True)) == [1, 2]
    assert audit.verify().ok


@pytest.mark.django_db(transaction=True)
def test_a_control_write_without_a_transaction_is_a_mistake() -> None:
    with pytest.raises(transaction.TransactionManagementError, match="needs a transaction"):
        audit.locked_head()


def test_a_refusal_is_written_at_once_and_announced(now: datetime) -> None:
    entry = audit.refuse(
        actor=ALICE, action=Action.DRAIN, target="node:node-a", reason="unknown key 'now'", now=now
    )

    assert entry.outcome == Outcome.REFUSED.value
    assert Change.objects.get().key == "audit"


def test_a_long_reason_is_cut_at_its_bound(now: datetime) -> None:
    [entry] = write(now, reason="x" * (audit.REASON_MAX_CHARACTERS + 1))

    assert len(entry.reason) == audit.REASON_MAX_CHARACTERS
    assert audit.verify().ok


def test_an_untouched_trail_verifies(now: datetime) -> None:
    assert audit.verify().ok
    last = write(now, 3, before={"ü": [1.5, None, True, "\n"]})[-1]

    verdict = audit.verify(exported=Head(n=3, hash=last.hash))

    assert verdict.ok
    assert (verdict.entries, verdict.head) == (3, Head(n=3, hash=last.hash))


FORGERIES = {
    "at": "2020-01-01 00:00:00",
    "actor_kind": "system",
    "actor_name": "mallory",
    "actor_id": "8",
    "token_prefix": "abcdefgh",
    "address": "198.51.100.9",
    "request_id": "r-2",
    "action": "undrain",
    "target": "node:node-b",
    "before": '{"force": true}',
    "after": '{"force": 1}',
    "reason": "nothing",
    "outcome": "failed",
    "generation": 99,
    "cause_n": 1,
    "count": 2,
}


@pytest.mark.parametrize("column", FORGERIES)
def test_verification_names_the_entry_and_the_column_that_was_changed(column: str, now: datetime) -> None:
    write(now, 3, before={"force": False}, after={"force": True}, generation=4)

    forge(f"UPDATE dashboard_auditentry SET {column} = %s WHERE n = 2", FORGERIES[column])

    verdict = audit.verify()
    assert (verdict.fault, verdict.n) == (Fault.CHANGED, 2)
    assert column in verdict.detail


def test_every_column_is_covered_by_a_forgery_above() -> None:
    assert set(FORGERIES) == set(audit_chain.COLUMNS) - {"n"}
    stored = {field.name for field in AuditEntry._meta.fields}
    assert stored - {"canonical", "hash"} == set(audit_chain.COLUMNS)


@pytest.mark.parametrize("text", ["no json", "[]", '{"n": 2}', "{}"])
def test_a_text_that_says_something_else_is_named(text: str, now: datetime) -> None:
    write(now, 3)

    forge("UPDATE dashboard_auditentry SET canonical = %s WHERE n = 2", text)

    verdict = audit.verify()
    assert (verdict.fault, verdict.n) == (Fault.CHANGED, 2)
    assert "canonical" in verdict.detail


def test_a_changed_hash_is_named(now: datetime) -> None:
    write(now, 3)

    forge("UPDATE dashboard_auditentry SET hash = %s WHERE n = 2", "f" * 64)

    verdict = audit.verify()
    assert (verdict.fault, verdict.n) == (Fault.CHANGED, 2)


def test_an_entry_that_was_rewritten_as_a_whole_breaks_the_next_one(now: datetime) -> None:
    first, second, _ = write(now, 3)
    second.reason = "nothing"
    text = audit_chain.text_of(second)

    forge(
        "UPDATE dashboard_auditentry SET reason = 'nothing', canonical = %s, hash = %s WHERE n = 2",
        text,
        audit_chain.link(first.hash, text),
    )

    verdict = audit.verify()
    assert (verdict.fault, verdict.n) == (Fault.CHANGED, 3)
    assert "entry 2" in verdict.detail


def test_the_newest_entry_rewritten_as_a_whole_differs_from_the_head(now: datetime) -> None:
    first, second = write(now, 2)
    second.reason = "nothing"
    text = audit_chain.text_of(second)

    forge(
        "UPDATE dashboard_auditentry SET reason = 'nothing', canonical = %s, hash = %s WHERE n = 2",
        text,
        audit_chain.link(first.hash, text),
    )

    verdict = audit.verify()
    assert (verdict.fault, verdict.n) == (Fault.CHANGED, 2)
    assert "control head" in verdict.detail


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_removed_entry_is_named(n: int, now: datetime) -> None:
    write(now, 3)

    forge("DELETE FROM dashboard_auditentry WHERE n = %s", n)

    verdict = audit.verify()
    assert (verdict.fault, verdict.n) == (Fault.REMOVED, n)


def test_a_removed_entry_whose_gap_was_closed_is_named(now: datetime) -> None:
    write(now, 3)

    forge("DELETE FROM dashboard_auditentry WHERE n = 2")
    forge("UPDATE dashboard_auditentry SET n = 2 WHERE n = 3")

    verdict = audit.verify()
    assert (verdict.fault, verdict.n) == (Fault.REORDERED, 2)


def test_two_entries_that_changed_places_are_named(now: datetime) -> None:
    write(now, 3)

    for old, new in ((1, 9), (2, 1), (9, 2)):
        forge("UPDATE dashboard_auditentry SET n = %s WHERE n = %s", new, old)

    verdict = audit.verify()
    assert (verdict.fault, verdict.n) == (Fault.REORDERED, 1)


def test_an_entry_pushed_in_between_is_named(now: datetime) -> None:
    write(now, 3)
    columns = ", ".join(field.column for field in AuditEntry._meta.fields if field.name != "n")

    forge("UPDATE dashboard_auditentry SET n = 4 WHERE n = 3")
    forge(
        f"INSERT INTO dashboard_auditentry (n, {columns}) SELECT 3, {columns} FROM dashboard_auditentry WHERE n = 2"
    )

    verdict = audit.verify()
    assert (verdict.fault, verdict.n) == (Fault.INSERTED, 3)


@pytest.mark.parametrize("n", [0, 4, 40])
def test_an_entry_outside_the_head_is_named(n: int, now: datetime) -> None:
    write(now, 3)
    columns = ", ".join(field.column for field in AuditEntry._meta.fields if field.name != "n")

    forge(
        f"INSERT INTO dashboard_auditentry (n, {columns}) SELECT {n}, {columns} FROM dashboard_auditentry WHERE n = 3"
    )

    assert audit.verify().fault is Fault.INSERTED


def test_entries_cut_off_together_with_the_head_show_against_an_exported_head(now: datetime) -> None:
    entries = write(now, 3)
    forge("DELETE FROM dashboard_auditentry WHERE n = 3")
    ControlHead.objects.update(audit_n=2, audit_hash=entries[1].hash)

    assert audit.verify().ok  # from inside it can't be seen
    verdict = audit.verify(exported=Head(n=3, hash=entries[2].hash))

    assert (verdict.fault, verdict.n) == (Fault.REMOVED, 3)


def test_a_trail_that_was_made_anew_differs_from_an_exported_head(now: datetime) -> None:
    write(now, 3)

    verdict = audit.verify(exported=Head(n=2, hash="f" * 64))

    assert (verdict.fault, verdict.n) == (Fault.CHANGED, 2)
    assert "exported" in verdict.detail


def test_a_trail_that_nothing_guards_does_not_verify(now: datetime) -> None:
    write(now)
    audit_triggers.remove(connection)

    verdict = audit.verify()

    assert (verdict.fault, verdict.n) == (Fault.UNGUARDED, None)
    assert "audit_refuses_delete" in verdict.detail


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE dashboard_auditentry SET reason = 'nothing'",
        "UPDATE OR REPLACE dashboard_auditentry SET n = 2 WHERE n = 1",
        "DELETE FROM dashboard_auditentry",
        "DELETE FROM dashboard_auditentry WHERE n = 2",
        "INSERT OR REPLACE INTO dashboard_auditentry SELECT * FROM dashboard_auditentry WHERE n = 2",
        "REPLACE INTO dashboard_auditentry SELECT * FROM dashboard_auditentry WHERE n = 2",
        "INSERT OR IGNORE INTO dashboard_auditentry SELECT * FROM dashboard_auditentry WHERE n = 2",
    ],
)
def test_the_database_refuses_to_change_entries(sql: str, now: datetime) -> None:
    write(now, 2)

    with (
        pytest.raises(IntegrityError, match="never changed"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)

    assert audit.verify().ok


def test_the_database_refuses_to_replace_an_entry_by_its_rowid(now: datetime) -> None:
    write(now, 2)
    columns = ", ".join(field.column for field in AuditEntry._meta.fields if field.name != "n")
    sql = (
        f"INSERT OR REPLACE INTO dashboard_auditentry (rowid, n, {columns}) "
        f"SELECT rowid, 3, {columns} FROM dashboard_auditentry WHERE n = 2"
    )

    with (
        pytest.raises(IntegrityError, match="never changed"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)

    assert AuditEntry.objects.count() == 2
