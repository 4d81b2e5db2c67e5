"""What is written of a drain's steps."""

from datetime import datetime, timedelta

import pytest

from dashboard.api.serializers import DrainRecordSerializer
from dashboard.models import Drain, DrainStep, Node
from dashboard.selectors import drain_record
from dashboard.services import drain
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db


def test_a_step_tells_who_saw_it_and_both_times(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)
    one, later = Drain.objects.get(), now + timedelta(seconds=2)
    DrainStep.objects.create(
        drain=one, step="drained", source="node", at=now + timedelta(seconds=1), received_at=later
    )

    told = DrainRecordSerializer(drain_record.read(pk=one.pk, now=later)).data

    requested, drained = told["steps"]
    assert (requested["source"], requested["after_seconds"]) == ("dashboard", 0.0)
    assert (drained["source"], drained["at"], drained["received_at"]) == (
        "node",
        "2026-01-01T12:00:01Z",
        "2026-01-01T12:00:02Z",
    )
    assert (told["id"], told["steps_left_out"]) == (str(one.pk), 0)
