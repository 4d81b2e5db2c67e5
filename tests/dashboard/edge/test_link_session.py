"""What becomes of what a node says, with real services, threads and database; only the socket is missing."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from dashboard import runtime
from dashboard.edge.link_session import LinkSession
from dashboard.models import Drain, DrainStep, Node, NodeLink, OutboxRow, SpoolMark, Trace
from dashboard.runtime import LaneFull, Runtime
from dashboard.selectors import peers
from dashboard.selectors.peers import Directory, Member
from dashboard.services import aliases, drain, ingest, link, nodes, outbox
from dashboard.services.actor import SYSTEM
from meshcore import framing
from meshcore.capability import Manifest, Offer
from meshcore.drain import InFlight, NodeState, Readout
from meshcore.frames import (
    Descriptor,
    Desired,
    Frame,
    GoingIdle,
    GoingIdleAck,
    Health,
    Hello,
    Inbound,
    InboundAck,
    Peers,
    Rewind,
    Telemetry,
    TelemetryAck,
)
from meshcore.link import CloseCode, Closing, LinkPolicy

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HEALTH = Health(no=1, at=NOW, node=Readout(state=NodeState.RUNNING, accepting=True), full=True)


def hello(instance_id: str = "i1", spool_id: str = "s1", log_id: str = "") -> Hello:
    return Hello(
        node_id="node-a",
        instance_id=instance_id,
        spool_id=spool_id,
        log_id=log_id,
        clock=NOW,
        manifest=Manifest(node_id="node-a"),
    )


def traces(after: int, to: int) -> Telemetry:
    call = {"capability": "llm.chat", "started_at": NOW}
    items = [
        {"kind": "trace", "seq": seq, "at": NOW, "trace": {**call, "trace_id": f"t{seq}"}}
        for seq in range(after + 1, to + 1)
    ]
    return Telemetry(
        after=after, to=to, items=tuple(msgspec.Raw(msgspec.json.encode(item)) for item in items)
    )


class Wire:
    """The node's end: what it was told, and how it was closed."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.closed: list[Closing] = []
        self._reader = framing.reader_from_dashboard()
        self._news = asyncio.Event()

    async def send(self, line: bytes) -> None:
        self.told += self._reader.read(line)
        self._news.set()

    async def close(self, closing: Closing) -> None:
        self.closed.append(closing)
        self._news.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def hear(self, kind: type[Any]) -> Any:
        """The first frame of a kind."""
        await self.until(lambda: any(isinstance(frame, kind) for frame in self.told))
        return next(frame for frame in self.told if isinstance(frame, kind))

    async def close_code(self) -> CloseCode:
        await self.until(lambda: self.closed)
        return self.closed[0].code


class Connection:
    """A session and its wire."""

    def __init__(self, node: Node, rt: Runtime, **settings: Any) -> None:
        self.wire = Wire()
        settings = {"now": lambda: NOW, **settings}
        self.session = LinkSession(node, rt, send=self.wire.send, close=self.wire.close, **settings)

    async def say(self, *frames: Frame) -> None:
        for frame in frames:
            await self.session.receive(framing.encode(frame))


Connect = Callable[..., Connection]


@pytest.fixture
def node() -> Node:
    return nodes.add(name="node-a", actor=SYSTEM, now=NOW)[0]


@pytest.fixture
async def rt(node: Node) -> AsyncIterator[Runtime]:
    async with runtime.running() as running:
        yield running


@pytest.fixture
async def connect(node: Node, rt: Runtime) -> AsyncIterator[Connect]:
    made: list[Connection] = []

    def connect_(**settings: Any) -> Connection:
        made.append(Connection(node, rt, **settings))
        return made[-1]

    yield connect_
    for connection in made:
        await connection.session.end()


async def in_db(rt: Runtime, read: Callable[[], Any]) -> Any:
    return await rt.in_render(read)


async def until_in_db(rt: Runtime, read: Callable[[], Any]) -> None:
    """Wait until `read` returns something true."""
    async with asyncio.timeout(10):
        while not await in_db(rt, read):  # noqa: ASYNC110 - a row has no event
            await asyncio.sleep(0.01)


async def test_hello_is_answered_with_the_descriptor(connect: Connect, rt: Runtime, node: Node) -> None:
    connection = connect()

    await connection.say(hello())

    (descriptor,) = connection.wire.told
    assert isinstance(descriptor, Descriptor)
    assert descriptor.descriptor.desired == Desired(generation=0)
    assert list(rt.links) == ["node-a"]
    stored = await in_db(rt, NodeLink.objects.get)
    assert (stored.connection_no, stored.closed_at) == (1, None)


async def test_health_is_stored(connect: Connect, rt: Runtime) -> None:
    connection = connect()

    await connection.say(hello(), HEALTH)

    await until_in_db(rt, Node.objects.filter(state="running").exists)


async def test_telemetry_is_acknowledged_after_it_is_stored(connect: Connect, rt: Runtime) -> None:
    connection = connect()

    await connection.say(hello(), traces(0, 2), traces(2, 3))
    await connection.wire.until(lambda: TelemetryAck(to=3) in connection.wire.told)

    assert await in_db(rt, Trace.objects.count) == 3
    assert [frame.to for frame in connection.wire.told if isinstance(frame, TelemetryAck)] == [2, 3]


async def test_a_gap_rewinds_once_and_the_node_goes_on_from_the_mark(connect: Connect, rt: Runtime) -> None:
    connection = connect()
    await connection.say(hello(), traces(0, 2))
    await connection.wire.hear(TelemetryAck)

    await connection.say(traces(5, 6), traces(6, 7))
    await connection.wire.hear(Rewind)
    await connection.say(traces(2, 7))
    await connection.wire.until(lambda: TelemetryAck(to=7) in connection.wire.told)

    assert [frame for frame in connection.wire.told if isinstance(frame, Rewind)] == [Rewind(hwm=2)]
    assert await in_db(rt, Trace.objects.count) == 7


async def test_the_desired_state_is_sent_as_soon_as_it_changes_and_that_is_noted(
    connect: Connect, rt: Runtime, node: Node
) -> None:
    connection = connect()
    await connection.say(hello())

    await rt.in_control(drain.request, node=node, actor=SYSTEM, reason="kernel")
    desired = await connection.wire.hear(Desired)

    assert (desired.generation, desired.drain.reason) == (1, "kernel")
    await until_in_db(rt, DrainStep.objects.filter(step="sent").exists)


async def test_a_change_during_the_handshake_is_not_missed(
    connect: Connect, rt: Runtime, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = link.open_connections

    def open_and_drain(greetings: Any) -> Any:
        answers = opened(greetings)
        drain.request(node=node, actor=SYSTEM)
        return answers

    monkeypatch.setattr(link, "open_connections", open_and_drain)
    connection = connect()

    await connection.say(hello())

    assert (await connection.wire.hear(Desired)).generation == 1


async def test_orders_pass_by_a_thousand_handshakes(
    connect: Connect, rt: Runtime, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_work, go = threading.Event(), threading.Event()

    def slow(greetings: Any) -> Any:
        in_work.set()
        go.wait(10)
        return [link.HandshakeRefused(CloseCode.TRY_AGAIN_LATER, "of the test")] * len(greetings)

    monkeypatch.setattr(link, "open_connections", slow)
    coming = [asyncio.create_task(connect().say(hello())) for _ in range(50)]
    await asyncio.to_thread(in_work.wait, 10)

    order = asyncio.create_task(rt.in_control(drain.request, node=node, actor=SYSTEM, reason="kernel"))
    await asyncio.sleep(0)
    before_it = rt.lanes[2].waiting - 1
    go.set()
    await order
    await asyncio.gather(*coming)

    assert before_it == 1  # a group of them


async def test_a_drain_that_waits_for_the_node_is_sent_with_the_descriptor(
    connect: Connect, rt: Runtime, node: Node
) -> None:
    await rt.in_control(drain.request, node=node, actor=SYSTEM)
    connection = connect()

    await connection.say(hello())

    assert connection.wire.told[0].descriptor.desired.generation == 1
    await until_in_db(rt, DrainStep.objects.filter(step="sent").exists)


async def test_a_change_that_is_none_for_the_node_sends_nothing(
    connect: Connect, rt: Runtime, node: Node
) -> None:
    connection = connect()
    await connection.say(hello())

    rt.links["node-a"]()
    await connection.say(traces(0, 1))
    await connection.wire.hear(TelemetryAck)

    assert not any(isinstance(frame, Desired) for frame in connection.wire.told)


async def test_only_orders_to_the_node_wake_its_link(
    connect: Connect, rt: Runtime, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, desired_of = asyncio.Queue[None](), link.desired_of
    loop = asyncio.get_running_loop()

    def counted(**call: Any) -> Any:
        loop.call_soon_threadsafe(asked.put_nowait, None)
        return desired_of(**call)

    monkeypatch.setattr(link, "desired_of", counted)
    connection = connect()
    await connection.say(hello(), HEALTH)
    async with asyncio.timeout(10):
        await until_in_db(rt, Node.objects.filter(state="running").exists)

        rt.announce([1, 2, 3], ["node:node-a", "orders:node-b", "orders:node-aa"])
        rt.announce([4], ["orders:node-a"])
        await asked.get()

    await connection.session.end()
    assert asked.empty()


async def test_an_order_to_many_nodes_at_once_reaches_each_of_them(connect: Connect, rt: Runtime) -> None:
    named = [f"node-{letter}" for letter in "bcdef"]
    made = [await rt.in_control(nodes.add, name=name, actor=SYSTEM, now=NOW) for name in named]
    connections = [Connection(each, rt) for each, _ in made]
    for connection in connections:
        await connection.say(hello())

    table = {"mesh/fast": ["groq/llama"]}
    await rt.in_control(
        aliases.put, nodes=[each for each, _ in made], table=table, reason="", actor=SYSTEM, now=NOW
    )
    told = [(await connection.wire.hear(Desired)).aliases for connection in connections]
    for connection in connections:
        await connection.session.end()

    assert told == [table] * len(named)


async def test_drain_steps_of_the_node_become_steps_of_the_drain(
    connect: Connect, rt: Runtime, node: Node
) -> None:
    await rt.in_control(drain.request, node=node, actor=SYSTEM)
    connection = connect()
    item = {"kind": "drain_step", "seq": 1, "at": NOW, "generation": 1, "step": "drained"}

    await connection.say(hello(), Telemetry(after=0, to=1, items=(msgspec.Raw(msgspec.json.encode(item)),)))
    await connection.wire.hear(TelemetryAck)

    assert await in_db(rt, DrainStep.objects.filter(step="drained").exists)
    assert await in_db(rt, Drain.objects.count) == 1


async def test_an_order_is_said_at_once_and_again_on_a_new_connection_until_it_is_taken(
    connect: Connect, rt: Runtime, node: Node
) -> None:
    connection = connect()
    await connection.say(hello(log_id="abc123ff"), HEALTH)
    await until_in_db(rt, Node.objects.filter(state="running").exists)

    order = await rt.in_control(outbox.cancel_run, run_id="run_abc123_1", reason="", actor=SYSTEM, now=NOW)
    said = await connection.wire.hear(Inbound)
    await connection.session.end()
    again = connect()
    await again.say(hello(log_id="abc123ff"))
    said_again = await again.wire.hear(Inbound)
    await again.say(InboundAck(bufferId=order.buffer_id), InboundAck(bufferId=order.buffer_id))

    assert said == said_again
    assert (said.bufferId, said.event["run_id"]) == (order.buffer_id, "run_abc123_1")
    await until_in_db(rt, OutboxRow.objects.filter(state="done").exists)


async def test_an_order_that_waits_for_the_log_is_said_when_a_node_of_it_comes(
    connect: Connect, rt: Runtime
) -> None:
    await rt.in_control(outbox.cancel_run, run_id="run_abc123_1", reason="", actor=SYSTEM, now=NOW)
    connection = connect()

    await connection.say(hello(log_id="abc123ff"))

    assert (await connection.wire.hear(Inbound)).event["run_id"] == "run_abc123_1"


async def test_going_idle_is_noted_and_then_acknowledged(connect: Connect, rt: Runtime) -> None:
    connection = connect()

    await connection.say(hello(), InboundAck(bufferId="b1"), GoingIdle())

    assert connection.wire.told[-1] == GoingIdleAck()
    assert (await in_db(rt, NodeLink.objects.get)).idle


async def test_the_end_of_the_connection_is_noted(connect: Connect, rt: Runtime) -> None:
    connection = connect()
    await connection.say(hello())

    await connection.session.end()

    assert (await in_db(rt, NodeLink.objects.get)).closed_at == NOW
    assert rt.links == {}


async def test_who_never_greeted_leaves_no_trace(connect: Connect, rt: Runtime) -> None:
    connection = connect()

    await connection.session.end()

    assert (await in_db(rt, NodeLink.objects.get)).connection_no == 0


@pytest.mark.parametrize("last_word", [HEALTH, traces(0, 1), GoingIdle()])
async def test_the_loser_of_two_connections_closes_4409_with_its_next_word(
    connect: Connect, rt: Runtime, last_word: Frame
) -> None:
    loser, winner = connect(), connect()
    await loser.say(hello())
    await winner.say(hello())

    await loser.say(last_word)

    assert await loser.wire.close_code() is CloseCode.SUPERSEDED
    await loser.session.end()
    assert list(rt.links) == ["node-a"], "the loser takes nothing with it"
    assert (await in_db(rt, NodeLink.objects.get)).closed_at is None
    assert await in_db(rt, Trace.objects.count) == 0


async def test_another_process_with_the_same_token_is_refused_4410(connect: Connect) -> None:
    first, second = connect(), connect()
    await first.say(hello("i1"))

    await second.say(hello("i2"))

    assert await second.wire.close_code() is CloseCode.DUPLICATE_NODE
    assert first.wire.closed == []


async def test_what_breaks_the_rules_is_closed(connect: Connect) -> None:
    connection = connect()

    await connection.say(GoingIdle())

    assert await connection.wire.close_code() is CloseCode.PROTOCOL_ERROR


async def test_health_that_cannot_be_stored_is_closed_and_named(connect: Connect) -> None:
    connection = connect()
    wrong = Readout(state=NodeState.RUNNING, accepting=True, in_flight=InFlight(total=-1))

    await connection.say(hello(), msgspec.structs.replace(HEALTH, node=wrong))

    assert await connection.wire.close_code() is CloseCode.PROTOCOL_ERROR
    assert "in_flight=-1" in connection.wire.closed[0].reason


async def test_who_does_not_greet_in_time_is_closed(connect: Connect) -> None:
    connection = connect(policy=LinkPolicy(handshake_seconds=0.05))

    assert await connection.wire.close_code() is CloseCode.HANDSHAKE_TIMEOUT


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OperationalError("database is locked"), CloseCode.TRY_AGAIN_LATER),
        (LaneFull("1000 calls wait"), CloseCode.TRY_AGAIN_LATER),
        (KeyError("a fault of ours"), CloseCode.INTERNAL_ERROR),
    ],
)
async def test_what_cannot_be_stored_now_comes_again(
    connect: Connect, rt: Runtime, monkeypatch: pytest.MonkeyPatch, error: Exception, code: CloseCode
) -> None:
    def fail(*batches: Any, **call: Any) -> None:
        raise error

    connection = connect()
    await connection.say(hello())
    monkeypatch.setattr(ingest, "store", fail)

    await connection.say(traces(0, 1), traces(1, 2))

    assert await connection.wire.close_code() is code
    assert "fault" not in connection.wire.closed[0].reason
    assert (await in_db(rt, SpoolMark.objects.get)).hwm == 0


async def test_an_end_that_cannot_be_noted_is_the_end_all_the_same(
    connect: Connect, rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**call: Any) -> None:
        raise OperationalError("disk full")

    connection = connect()
    await connection.say(hello())
    with monkeypatch.context() as patch:
        patch.setattr(link, "close_connection", fail)

        await connection.session.end()

    assert rt.links == {}


async def test_a_node_that_calls_itself_otherwise_is_who_its_token_says_and_that_is_logged(
    connect: Connect, rt: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect()

    await connection.say(msgspec.structs.replace(hello(), node_id="node-b\nfaked"))

    await connection.wire.hear(Descriptor)
    assert list(rt.links) == ["node-a"]
    assert "node-a calls itself 'node-b\\nfaked': the token decides" in caplog.text


class Mesh:
    """node-a and node-b, which offer the same, at a time that the test sets."""

    def __init__(self, rt: Runtime, a: Node, b: Node, clock: "WallClock") -> None:
        self.clock = clock
        self.a, self.b = (Connection(node, rt, now=clock) for node in (a, b))

    async def both_speak(self) -> None:
        await self.a.say(introduction("node-a"), HEALTH)
        await self.b.say(introduction("node-b"), HEALTH)

    async def heard_by_a(self, frame: Peers) -> None:
        await self.a.wire.until(lambda: frame in self.a.wire.told)


class WallClock:
    """An aware UTC clock that tests set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def manifest(name: str, **fields: Any) -> Manifest:
    return Manifest(node_id=name, url=f"https://{name}", capabilities=(Offer(name="llm.chat"),), **fields)


def introduction(name: str) -> Hello:
    return msgspec.structs.replace(hello(instance_id=name), manifest=manifest(name))


@pytest.fixture
async def mesh(node: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mesh]:
    monkeypatch.setattr(runtime, "PEERS_SECONDS", 0.01)
    other = (await sync_to_async(nodes.add)(name="node-b", actor=SYSTEM, now=NOW))[0]
    clock = WallClock()
    async with runtime.running(now=clock, poll_seconds=0.05) as rt:
        made = Mesh(rt, node, other, clock)
        yield made
        await made.a.session.end()
        await made.b.session.end()


async def test_nodes_are_told_of_each_other_as_they_come_drain_and_go(mesh: Mesh) -> None:
    await mesh.both_speak()
    await mesh.b.wire.until(lambda: any(frame.upsert for frame in told(mesh.b)))
    await mesh.a.wire.until(lambda: any(not each.draining for frame in told(mesh.a) for each in frame.upsert))
    draining = Readout(state=NodeState.DRAINING, accepting=False)
    came = len(told(mesh.a))

    await mesh.b.say(msgspec.structs.replace(HEALTH, no=2, node=draining))
    await mesh.heard_by_a(Peers(rev=came + 1, upsert=(manifest("node-b", draining=True),)))
    await mesh.b.say(GoingIdle())
    await mesh.b.wire.hear(GoingIdleAck)
    await mesh.b.session.end()
    await mesh.heard_by_a(Peers(rev=came + 2, remove=("node-b",)))

    assert [frame.rev for frame in told(mesh.a)] == list(range(1, came + 3))
    assert isinstance(mesh.a.wire.told[0], Descriptor)
    assert {each.node_id for frame in told(mesh.b) for each in frame.upsert} == {"node-a"}


def told(connection: Connection) -> list[Peers]:
    return [frame for frame in connection.wire.told if isinstance(frame, Peers)]


async def test_a_node_that_is_silent_for_too_long_is_taken_back(mesh: Mesh) -> None:
    await mesh.both_speak()
    await mesh.a.wire.until(lambda: any(frame.upsert for frame in told(mesh.a)))

    mesh.clock.now = NOW + timedelta(seconds=5.5)
    await mesh.a.say(msgspec.structs.replace(HEALTH, no=2))
    mesh.clock.now = NOW + timedelta(seconds=7)

    await mesh.a.wire.until(lambda: told(mesh.a)[-1].remove == ("node-b",))


async def test_a_node_that_has_not_spoken_yet_is_told_of_nobody(mesh: Mesh) -> None:
    await mesh.b.say(introduction("node-b"), HEALTH)
    await mesh.b.wire.hear(Peers)

    await mesh.a.say(introduction("node-a"))
    await mesh.a.wire.hear(Descriptor)
    before = told(mesh.a)
    await mesh.a.say(HEALTH)

    assert await mesh.a.wire.hear(Peers) == Peers(rev=1, upsert=(manifest("node-b"),))
    assert before == []
    assert told(mesh.b)[0] == Peers(rev=1)


async def test_a_node_that_comes_during_the_handshake_is_not_missed(
    connect: Connect, rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = ("default", frozenset({"llm.chat"}))
    names = ("node-a", "node-b")
    rt.directory = Directory({name: Member(manifest(name), kind, True, 1) for name in names})
    monkeypatch.setattr(peers, "read", lambda before, *, now: before)  # no re-reading while the test looks
    monkeypatch.setattr(rt, "on_change", lambda pattern, callback: lambda: None)
    connection = connect()

    await connection.say(introduction("node-a"))

    assert await connection.wire.hear(Peers) == Peers(rev=1, upsert=(manifest("node-b"),))
