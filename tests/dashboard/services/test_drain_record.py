"""What every change of a drain writes, in the caller's transaction."""

from datetime import datetime, timedelta

import pytest
from django.db import transaction

from dashboard.models import AuditEntry, Change, Drain, DrainStatus, Node
from dashboard.services import audit, desired, drain, drain_record
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db


def active(node: Node, now: datetime) -> Drain | None:
    """Ask for the drain that is on."""
    with transaction.atomic():
        head = audit.locked_head()
        return drain_record.active(head, desired.locked(node=node, now=now), node, now=now)


def test_the_drain_that_is_on_is_found(node: Node, now: datetime) -> None:
    assert active(node, now) is None

    begun = drain.request(node=node, actor=SYSTEM, expires_seconds=60, now=now).drain

    assert active(node, now + timedelta(seconds=59)) == begun


def test_one_whose_time_is_over_is_ended_on_the_way(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=SYSTEM, expires_seconds=60, now=now)
    Change.objects.all().delete()

    assert active(node, now + timedelta(seconds=60)) is None

    assert Drain.objects.get().status == DrainStatus.EXPIRED.value
    assert AuditEntry.objects.order_by("n").values_list("reason", flat=True).last() == "expired"
    assert Change.objects.filter(key="node:node-a").exists()


def test_all_terminal_states_have_a_last_step() -> None:
    assert set(drain_record.LAST_STEP) == set(DrainStatus) - {DrainStatus.ACTIVE}
