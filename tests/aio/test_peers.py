"""Following peers: by hand with a manual clock, and over real HTTP."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.http_transport import HttpTransport
from meshcore.aio.peers import PEERS_MAX, PeerPoller
from meshcore.aio.testing import wait_until
from meshcore.errors import ExchangeError
from meshcore.registry import PeerRecord
from meshcore.testing import ManualClock
from tests.aio.bus_mesh import BODY, CHAT, SECRET, Script, content, make_bus, says, serve


class Peer:
    """The far side: gives a manifest, or fails as told."""

    def __init__(self, bus: CapabilityBus) -> None:
        self.bus = bus
        self.answers: bytes | Exception | None = None  # None: the bus's own manifest
        self.polls = 0

    async def manifest(self, peer: PeerRecord) -> bytes:
        self.polls += 1
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers or msgspec.json.encode(self.bus.manifest())


class Scene:
    """node-a that follows node-b."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.a = make_bus("node-a", clock=self.clock)
        self.b = make_bus("node-b", clock=self.clock)
        self.script = Script(says("hi")).offer_to(self.b)
        self.peer = Peer(self.b)
        self.poller = PeerPoller(self.a, self.peer, {"node-b": "http://b", "node-a": "http://a"})

    def names(self) -> list[str]:
        return [entry.descriptor.name for entry in self.a.registry.all_remote()]


GONE = ExchangeError("partition", "node-b can't be reached")


async def test_a_poll_feeds_the_registry() -> None:
    scene = Scene()

    assert await scene.poller.poll("node-b")

    assert scene.names() == ["llm.chat"]
    assert scene.a.registry.peers()[0].record.endpoints == ["http://b"]


async def test_a_draining_peer_is_refused_and_not_struck() -> None:
    scene = Scene()
    scene.b.draining = lambda: True

    await scene.poller.poll("node-b")
    result = await scene.a.call(*CHAT, BODY)

    assert [candidate["reason"] for candidate in result["refused"]] == ["draining"]
    assert scene.a.health.state("node:node-b") == "closed"


async def test_a_peer_that_never_answered_has_nothing_to_lose() -> None:
    scene = Scene()
    scene.peer.answers = GONE

    for _ in range(5):
        assert not await scene.poller.poll("node-b")

    assert scene.a.health.get_state("node:node-b") is None


async def test_failed_polls_of_a_known_peer_are_probe_evidence() -> None:
    scene = Scene()
    await scene.poller.poll("node-b")
    scene.peer.answers = GONE

    for _ in range(2):
        scene.clock.advance(10.0)
        await scene.poller.poll("node-b")
    opened = scene.a.health.state("node:node-b")
    scene.peer.answers = None
    await scene.poller.poll("node-b")

    assert (opened, scene.a.health.state("node:node-b")) == ("open", "half_open")


async def test_a_peer_silent_for_90_s_is_forgotten_and_found_again() -> None:
    scene = Scene()
    await scene.poller.poll("node-b")
    scene.peer.answers = TimeoutError()
    for _ in range(10):
        scene.clock.advance(10.0)
        await scene.poller.poll("node-b")
    forgotten = (scene.names(), scene.a.health.get_state("node:node-b"))

    scene.peer.answers = None
    await scene.poller.poll("node-b")

    assert forgotten == ([], None)
    assert scene.names() == ["llm.chat"]


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (b"{", "manifest"),
        (b'{"node_id":"node-x"}', "node_id='node-x': expected 'node-b'"),
        (b'{"node_id":"node-b","community":"other"}', "community='other': expected 'default'"),
        (b'{"node_id":"node-b","capabilities":[{"name":"a","version":"1"}]}', "version='1'"),
    ],
)
async def test_a_wrong_manifest_changes_nothing_and_is_said_once(
    manifest: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    await scene.poller.poll("node-b")
    scene.peer.answers = manifest

    polled = [await scene.poller.poll("node-b") for _ in range(3)]

    assert polled == [False, False, False]
    assert scene.names() == ["llm.chat"]
    assert scene.a.health.state("node:node-b") == "closed"
    assert [said in message for message in caplog.messages if "gives no manifest" in message] == [True]


async def test_joining_changing_and_coming_back_are_said(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()

    with caplog.at_level(logging.INFO):
        await scene.poller.poll("node-b")
        await scene.poller.poll("node-b")
        Script(name="llm.embedding").offer_to(scene.b)
        await scene.poller.poll("node-b")

    assert [record.getMessage() for record in caplog.records] == [
        "peer node-b offers 1 capabilities",
        "peer node-b offers 2 capabilities",
    ]


def test_too_many_peers_are_refused() -> None:
    bus = make_bus("node-a")

    with pytest.raises(ValueError, match="expected at most 128"):
        PeerPoller(bus, Peer(bus), {str(number): "http://x" for number in range(PEERS_MAX + 1)})


@asynccontextmanager
async def following(poller: PeerPoller) -> AsyncIterator[None]:
    task = asyncio.create_task(poller.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_mesh_that_starts_finds_itself_at_once_and_calls_over_http() -> None:
    transports = HttpTransport(SECRET), HttpTransport(SECRET)
    a, b = make_bus("node-a", transports[0]), make_bus("node-b", transports[1])
    Script(says("hi")).offer_to(b)

    async with serve(a) as url_a, serve(b) as url_b:
        both = {"node-a": url_a, "node-b": url_b}
        async with (
            following(PeerPoller(a, transports[0], both)),
            following(PeerPoller(b, transports[1], both)),
        ):
            await wait_until(lambda: bool(a.registry.all_remote() and b.registry.peers()))
            result = await a.call(*CHAT, BODY)
    for transport in transports:
        await transport.close()

    assert content(result) == "hi"


async def test_a_peer_that_drains_is_looked_at_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshcore.aio.peers.FIRST_RETRY_SECONDS", 0.001)
    scene = Scene()
    scene.b.draining = lambda: True

    async with following(scene.poller):
        await wait_until(lambda: any(peer.draining for peer in scene.a.registry.peers()))
        scene.b.draining = lambda: False
        await wait_until(lambda: not any(peer.draining for peer in scene.a.registry.peers()))


async def test_a_peer_that_is_late_is_found_by_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshcore.aio.peers.FIRST_RETRY_SECONDS", 0.001)
    scene = Scene()
    scene.peer.answers = GONE

    async with following(scene.poller):
        await wait_until(lambda: scene.peer.polls >= 4)
        scene.peer.answers = None
        await wait_until(lambda: scene.names() == ["llm.chat"])


async def test_a_peer_that_is_still_joining_is_asked_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshcore.aio.peers.FIRST_RETRY_SECONDS", 0.001)
    scene = Scene()
    scene.b.draining = lambda: True

    async with following(scene.poller):
        await wait_until(lambda: scene.peer.polls >= 4)
        scene.b.draining = lambda: False
        await wait_until(lambda: not scene.a.registry.peers()[0].draining)
