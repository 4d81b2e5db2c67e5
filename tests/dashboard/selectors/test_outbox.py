"""Who may carry out what waits: see also `services/test_outbox.py`, where the orders are given and taken."""

from datetime import datetime, timedelta
from typing import Any

from dashboard.models import OutboxRow
from dashboard.selectors import outbox
from tests.dashboard.web.factory import seen_node


def waiting(log_prefix: str, n: int, now: datetime) -> None:
    OutboxRow.objects.create(
        buffer_id=f"{log_prefix}-{n}",
        run_id=f"run_{log_prefix}_{n}",
        log_prefix=log_prefix,
        event={},
        audit_n=1,
        created_at=now,
        expires_at=now,
    )


def test_carriers_are_the_nodes_of_the_log_that_are_there(db: None, now: datetime) -> None:
    seen_node("node-b", now=now, log_id="abc123ffff")
    seen_node("node-a", now=now, log_id="abc123ffff")
    seen_node("node-c", now=now, log_id="abc123ffff", heard_seconds=3600.0)
    seen_node("node-d", now=now, log_id="another")
    seen_node("node-e", now=now)

    assert [node.name for node in outbox.carriers("abc123", now=now)] == ["node-a", "node-b"]


def test_a_node_gets_the_oldest_orders_of_its_log_and_so_many_at_once(
    db: None, now: datetime, django_assert_num_queries: Any
) -> None:
    node = seen_node("node-a", now=now, log_id="abc123ffff")
    waiting("another"[:6], 0, now)
    for n in range(outbox.SENT_AT_ONCE + 1):
        waiting("abc123", n, now + timedelta(seconds=n))

    with django_assert_num_queries(2):
        due = outbox.waiting_for(node, connection_no=1, now=now)

    assert [row.buffer_id for row in due] == [f"abc123-{n}" for n in range(outbox.SENT_AT_ONCE)]
