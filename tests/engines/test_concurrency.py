"""What SQLite's one writer hides: transactions that meet, on PostgreSQL."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from django.db import connection, connections, transaction

from dashboard.models import Change, Node, NodeLink, SpoolMark, Trace
from dashboard.services import changes, health, ingest, link, marks, nodes, trace_ids
from dashboard.services.actor import SYSTEM
from dashboard.services.health import Said
from dashboard.services.ingest import ConnectionLost
from meshcore.capability import Manifest
from meshcore.drain import NodeState, Readout
from meshcore.frames import Health, Hello, Refused, TelemetryAck
from tests.dashboard.services.test_ingest import traces

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_SECONDS = 30.0


@pytest.fixture
def threads() -> Iterator[Callable[..., "Future[Any]"]]:
    """Run functions beside each other, each with a database connection of its own."""
    with ThreadPoolExecutor(8) as pool:
        yield lambda function, **arguments: pool.submit(_and_close, function, arguments)


def _and_close(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    try:
        return function(**arguments)
    finally:
        connections.close_all()


@contextmanager
def feed_held() -> Iterator[None]:
    """Keep everybody who changes something from ending the transaction."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [changes.FEED_LOCK])
        yield


def wait_for_waiting(count: int) -> None:
    """Wait until so many transactions of this database wait for a lock."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _waiting() < count:
        assert time.monotonic() < deadline, f"{count} don't wait"
        time.sleep(0.01)


def _waiting() -> int:
    here = "datname = current_database() AND wait_event_type = 'Lock'"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees the same activity all the time
        return int(cursor.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {here}").fetchone()[0])


def hello(now: datetime, spool_id: str = "s1") -> Hello:
    manifest = Manifest(node_id="node-a", url="", version="1", capabilities=())
    return Hello(
        node_id="node-a",
        instance_id="i1",
        boot_epoch="b",
        log_id="l",
        spool_id=spool_id,
        clock=now,
        manifest=manifest,
    )


def store(*, now: datetime, **frame: Any) -> Any:
    (answer,) = ingest.store([ingest.read(now=now, **frame)], now=now)
    return answer


def test_a_handshake_that_meets_a_batch_waits_for_it(threads: Any, node: Node, now: datetime) -> None:
    first, _ = link.open_connection(node=node, hello=hello(now), now=now)
    with feed_held():
        batch = threads(store, node=node, connection_no=first, telemetry=traces(0, 3), now=now)
        wait_for_waiting(1)
        handshake = threads(link.open_connection, node=node, hello=hello(now), now=now)
        wait_for_waiting(2)

    assert batch.result(PATIENCE_SECONDS) == TelemetryAck(to=3)
    number, descriptor = handshake.result(PATIENCE_SECONDS)
    assert (number, descriptor.resume_from) == (first + 1, 3)


def test_a_batch_that_meets_a_handshake_is_void(threads: Any, node: Node, now: datetime) -> None:
    first, _ = link.open_connection(node=node, hello=hello(now), now=now)
    with feed_held():
        handshake = threads(link.open_connection, node=node, hello=hello(now, "another spool"), now=now)
        wait_for_waiting(1)
        batch = threads(store, node=node, connection_no=first, telemetry=traces(0, 3), now=now)
        wait_for_waiting(2)

    handshake.result(PATIENCE_SECONDS)
    assert batch.result(PATIENCE_SECONDS) == ConnectionLost()
    assert not Trace.objects.exists()


def test_batches_of_two_nodes_at_once_get_ids_of_their_own(threads: Any, node: Node, now: datetime) -> None:
    both = [node, nodes.add(name="node-b", actor=SYSTEM, now=now)[0]]
    numbers = [link.open_connection(node=each, hello=hello(now), now=now)[0] for each in both]
    with feed_held():
        batches = [
            threads(store, node=each, connection_no=number, telemetry=traces(0, 50), now=now)
            for each, number in zip(both, numbers, strict=True)
        ]
        wait_for_waiting(2)

    assert [batch.result(PATIENCE_SECONDS) for batch in batches] == [TelemetryAck(to=50)] * 2
    slots = {
        (id_ >> trace_ids.COUNTER_BITS) % (1 << trace_ids.SLOT_BITS)
        for id_ in Trace.objects.values_list("id", flat=True)
    }
    assert Trace.objects.count() == 100
    assert slots == {1, 2}


def test_ids_behind_a_batch_that_was_faster_are_above_its(threads: Any, node: Node, now: datetime) -> None:
    number, _ = link.open_connection(node=node, hello=hello(now), now=now)
    store(node=node, connection_no=number, telemetry=traces(0, 3), now=now)
    highest = max(Trace.objects.values_list("id", flat=True))

    threads(store, node=node, connection_no=number, telemetry=traces(3, 6), now=now).result(PATIENCE_SECONDS)

    assert sorted(Trace.objects.values_list("id", flat=True))[3] > highest


def test_changes_get_their_ids_in_the_order_of_their_commits(threads: Any, now: datetime) -> None:
    def publish(key: str) -> None:
        with transaction.atomic():
            changes.publish(key, now=now)

    with transaction.atomic():
        changes.publish("first", now=now)
        second = threads(publish, key="second")
        wait_for_waiting(1)
        changes.publish("first too", now=now)
    second.result(PATIENCE_SECONDS)

    assert list(Change.objects.order_by("id").values_list("key", flat=True)) == [
        "first",
        "first too",
        "second",
    ]


def test_an_item_that_postgresql_refuses_does_not_take_the_others_with_it(node: Node, now: datetime) -> None:
    number, _ = link.open_connection(node=node, hello=hello(now), now=now)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE dashboard_trace ADD CONSTRAINT poison CHECK (trace_id <> 't2')")

    answer = store(node=node, connection_no=number, telemetry=traces(0, 3), now=now)

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE dashboard_trace DROP CONSTRAINT poison")
    assert answer == TelemetryAck(to=3, refused=(Refused(seq=2, reason="the database refused it"),))
    assert list(Trace.objects.order_by("id").values_list("trace_id", flat=True)) == ["t1", "t3"]
    assert SpoolMark.objects.get().hwm == 3
    assert NodeLink.objects.get().connection_no == number


def test_a_node_that_is_forgotten_while_it_pushes_waits_for_the_group(
    threads: Any, node: Node, now: datetime
) -> None:
    number, _ = link.open_connection(node=node, hello=hello(now), now=now)
    with feed_held():
        batch = threads(store, node=node, connection_no=number, telemetry=traces(0, 3), now=now)
        wait_for_waiting(1)
        gone = threads(nodes.forget, node=node, actor=SYSTEM, reason="sold", even_connected=True, now=now)
        wait_for_waiting(2)

    assert batch.result(PATIENCE_SECONDS) == TelemetryAck(to=3)
    assert gone.result(PATIENCE_SECONDS)
    assert store(node=node, connection_no=number, telemetry=traces(3, 6), now=now) == ConnectionLost()


def test_groups_of_two_processes_that_hold_the_same_nodes_crosswise_wait_for_each_other(
    threads: Any, node: Node, now: datetime
) -> None:
    both = [node, nodes.add(name="node-b", actor=SYSTEM, now=now)[0]]
    first = [link.open_connection(node=each, hello=hello(now), now=now)[0] for each in both]
    batches = [
        ingest.read(node=each, connection_no=number, telemetry=traces(0, 3), now=now)
        for each, number in zip(both, first, strict=True)
    ]
    with feed_held():
        groups = [
            threads(ingest.store, batches=order, now=now) for order in (batches, batches[::-1], batches)
        ]
        wait_for_waiting(3)

    answers = [group.result(PATIENCE_SECONDS) for group in groups]
    assert answers == [[TelemetryAck(to=3)] * 2] * 3
    assert Trace.objects.count() == 6


def test_the_same_spool_by_http_at_two_processes_is_stored_once(
    threads: Any, node: Node, now: datetime
) -> None:
    marks.introduce(node=node, spool_id="h1", now=now)
    pushed = {"node": node, "connection_no": marks.BY_HTTP, "spool_id": "h1", "now": now}
    with feed_held():
        pushes = [threads(store, telemetry=traces(0, to), **pushed) for to in (3, 5, 4)]
        wait_for_waiting(3)

    assert [push.result(PATIENCE_SECONDS) for push in pushes] == [TelemetryAck(to=to) for to in (3, 5, 4)]
    assert sorted(Trace.objects.values_list("trace_id", flat=True)) == ["t1", "t2", "t3", "t4", "t5"]


def test_health_of_the_same_nodes_at_two_processes_leaves_the_newest(
    threads: Any, node: Node, now: datetime
) -> None:
    both = [node, nodes.add(name="node-b", actor=SYSTEM, now=now)[0]]
    numbers = [link.open_connection(node=each, hello=hello(now), now=now)[0] for each in both]

    def words(no: int, order: int) -> list[Said]:
        readout = Readout(state=NodeState.RUNNING, accepting=True, edge=no)
        said = [
            Said(node=each, connection_no=number, health=Health(no=no, at=now, node=readout), now=now)
            for each, number in zip(both, numbers, strict=True)
        ]
        return said[::order]

    with feed_held():
        groups = [threads(health.apply, said=words(no, order)) for no, order in ((1, 1), (2, -1), (3, 1))]
        wait_for_waiting(3)

    for group in groups:
        group.result(PATIENCE_SECONDS)
    assert list(Node.objects.values_list("edge", "health_no")) == [(3, 3), (3, 3)]
