"""Verification names the first entry that isn't what was written, and what was done to it."""

from datetime import datetime

import pytest
from django.db import connection

from dashboard.models import AuditEntry, ControlHead
from dashboard.services import audit, audit_chain, audit_triggers
from dashboard.services.audit import Fault, Head
from tests.dashboard.services.trail import COLUMNS, forge, write

pytestmark = pytest.mark.django_db


def copy(n: int, *, to: int) -> None:
    """Forge an entry from another."""
    values = f"SELECT {to}, {COLUMNS} FROM dashboard_auditentry WHERE n = {n}"
    forge(f"INSERT INTO dashboard_auditentry (n, {COLUMNS}) {values}")


def test_an_untouched_trail_verifies(now: datetime) -> None:
    assert audit.verify().ok
    last = write(now, 3, before={"ü": [1.5, None, True, "\n"]})[-1]

    verdict = audit.verify(exported=Head(n=3, hash=last.hash))

    assert verdict.ok
    assert (verdict.entries, verdict.head) == (3, Head(n=3, hash=last.hash))


def test_more_entries_than_somebody_can_wait_for_are_not_looked_at(now: datetime) -> None:
    write(now, 3)

    assert audit.verify(at_most=3).ok
    with pytest.raises(audit.TrailTooLong, match=r"3 entries; at most 2 .* manage\.py verify_audit"):
        audit.verify(at_most=2)


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
    forge("UPDATE dashboard_auditentry SET n = 4 WHERE n = 3")
    copy(2, to=3)

    verdict = audit.verify()
    assert (verdict.fault, verdict.n) == (Fault.INSERTED, 3)


@pytest.mark.parametrize("n", [0, 4, 40])
def test_an_entry_outside_the_head_is_named(n: int, now: datetime) -> None:
    write(now, 3)
    copy(3, to=n)

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
    assert audit_triggers.missing(connection)[0] in verdict.detail
