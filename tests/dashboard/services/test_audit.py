"""The audit trail: chained, gapless, in the transaction of the change."""

from datetime import datetime

import pytest
from django.db import transaction

from dashboard.models import Action, AuditEntry, Change, ControlHead, Outcome
from dashboard.services import audit, audit_chain
from dashboard.services.actor import SYSTEM
from tests.dashboard.services.trail import ALICE, write

pytestmark = pytest.mark.django_db


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
