"""Who may carry out what waits: see also `services/test_outbox.py`, where the orders are given and taken."""

from datetime import datetime, timedelta
from typing import Any

from dashboard.models import OutboxRow
from dashboard.selectors import outbox
from tests.dashboard.web.factory import epoch, run, seen_node


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

    with django_assert_num_queries(3):
        due = outbox.waiting_for(node, connection_no=1, now=now)

    assert [row.buffer_id for row in due] == [f"abc123-{n}" for n in range(outbox.SENT_AT_ONCE)]


def test_the_owner_of_a_run_gets_the_order_before_others_of_its_log(db: None, now: datetime) -> None:
    nodes = {name: seen_node(name, now=now, log_id="abc123ffff") for name in ("node-a", "node-b", "node-c")}
    waiting("abc123", 1, now)
    waiting("abc123", 2, now)  # of this one nobody knows who owns it
    run("run_abc123_1", at=now, epochs=[epoch(1, "node-b", 2)])

    def due(name: str, at: datetime) -> list[str]:
        return [row.buffer_id for row in outbox.waiting_for(nodes[name], connection_no=1, now=at)]

    first = [each.name for each in outbox.carriers("abc123", now=now, first="node-b")]
    at_once = {name: due(name, now) for name in ("node-a", "node-b")}
    later = due("node-a", now + outbox.OWNER_FIRST)

    assert first == ["node-b", "node-a", "node-c"]
    assert at_once == {"node-a": ["abc123-2"], "node-b": ["abc123-1", "abc123-2"]}
    assert later == ["abc123-1", "abc123-2"]


def test_an_owner_who_is_away_keeps_nobody_from_it(db: None, now: datetime) -> None:
    node = seen_node("node-a", now=now, log_id="abc123ffff")
    seen_node("node-b", now=now, log_id="abc123ffff", heard_seconds=3600.0)
    waiting("abc123", 1, now)
    run("run_abc123_1", at=now, epochs=[epoch(1, "node-b", 2)])

    due = outbox.waiting_for(node, connection_no=1, now=now)

    assert [row.run_id for row in due] == ["run_abc123_1"]


def test_the_newest_order_for_a_run_is_the_one_that_counts(db: None, now: datetime) -> None:
    waiting("abc123", 1, now)

    found = outbox.order_of("run_abc123_1")

    assert found is not None and found.buffer_id == "abc123-1"
    assert outbox.order_of("run_abc123_2") is None
