"""Following peers: by hand with a manual clock, and over real HTTP."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.http_transport import HttpTransport
from meshcore.aio.peers import AT_ONCE, PeerPoller
from meshcore.aio.peers_file import PeersFile
from meshcore.aio.testing import wait_until
from meshcore.capability import Manifest
from meshcore.errors import ExchangeError
from meshcore.frames import Peers
from meshcore.peers import PEERS_MAX, KnownPeer
from meshcore.registry import PeerRecord
from meshcore.testing import ManualClock
from tests.aio.bus_mesh import BODY, CHAT, SECRET, Script, content, make_bus, says, serve


class Peer:
    """The far side: gives a manifest, or fails as told; `asked` is where it was looked for."""

    def __init__(self, bus: CapabilityBus) -> None:
        self.bus = bus
        self.answers: bytes | Exception | None = None  # None: the bus's own manifest
        self.polls = 0
        self.asked: list[tuple[str, str]] = []  # source and endpoint

    async def manifest(self, peer: PeerRecord) -> bytes:
        self.polls += 1
        self.asked.append((peer.source, peer.endpoints[0]))
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
        self.poller = self.make_poller({"node-b": "http://b", "node-a": "http://a"})

    def make_poller(self, peers: dict[str, str], file: PeersFile | None = None) -> PeerPoller:
        return PeerPoller(self.a, self.peer, peers, file=file, allow_plain_http=True)

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


def said(*, url: str = "http://b", draining: bool = False, rev: int = 1) -> Peers:
    """Return the dashboard's word that node-b is there."""
    return Peers(rev=rev, upsert=(Manifest(node_id="node-b", url=url, draining=draining),))


async def test_a_peer_that_the_dashboard_names_is_followed(tmp_path: Path) -> None:
    scene = Scene()
    poller = scene.make_poller({}, PeersFile(tmp_path))

    async with following(poller):
        poller.hear(said())
        await wait_until(lambda: scene.names() == ["llm.chat"])
        await wait_until(lambda: bool(PeersFile(tmp_path).load()))

    assert scene.a.registry.peers()[0].record.source == "dashboard"
    assert PeersFile(tmp_path).load() == (KnownPeer(node_id="node-b", url="http://b"),)


async def test_what_was_remembered_is_followed_without_a_dashboard(tmp_path: Path) -> None:
    scene = Scene()
    PeersFile(tmp_path).store((KnownPeer(node_id="node-b", url="http://b"),))

    async with following(scene.make_poller({}, PeersFile(tmp_path))):
        await wait_until(lambda: scene.names() == ["llm.chat"])


async def test_remembered_peers_that_do_not_answer_are_kept_while_no_dashboard_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshcore.aio.peers.FIRST_RETRY_SECONDS", 0.001)
    scene = Scene()
    scene.peer.answers = GONE
    PeersFile(tmp_path).store((KnownPeer(node_id="node-b", url="http://b"),))

    async with following(scene.make_poller({}, PeersFile(tmp_path))):
        await wait_until(lambda: scene.peer.polls >= 4)
        scene.peer.answers = None
        await wait_until(lambda: scene.names() == ["llm.chat"])


async def test_a_peer_that_was_taken_back_is_let_go_when_it_does_not_answer(tmp_path: Path) -> None:
    scene = Scene()
    poller = scene.make_poller({}, PeersFile(tmp_path))

    async with following(poller):
        poller.hear(said())
        await wait_until(lambda: scene.names() == ["llm.chat"])
        poller.hear(Peers(rev=2, remove=("node-b",)))
        await wait_until(lambda: scene.peer.polls == 2)
        answered = scene.names()
        scene.peer.answers = GONE
        poller.hear(Peers(rev=3, remove=("node-b",)))
        await wait_until(lambda: scene.a.registry.peers() == [])
        await wait_until(lambda: PeersFile(tmp_path).load() == ())

    assert answered == ["llm.chat"]
    assert scene.a.health.get_state("node:node-b") is None


async def test_a_peer_counts_as_draining_from_the_moment_that_the_dashboard_says_so() -> None:
    scene = Scene()

    async with following(scene.poller):
        await wait_until(lambda: scene.names() == ["llm.chat"])
        scene.peer.answers = GONE  # so that it is not the peer itself who says so
        scene.poller.hear(said(draining=True))
        result = await scene.a.call(*CHAT, BODY)

    assert [candidate["reason"] for candidate in result["refused"]] == ["draining"]


async def test_the_end_of_a_drain_is_the_peers_own_word_and_asked_for_at_once() -> None:
    scene = Scene()
    scene.b.draining = lambda: True

    async with following(scene.poller):
        await wait_until(lambda: bool(scene.a.registry.peers()))
        polls = scene.peer.polls
        scene.poller.hear(said(rev=1))
        await wait_until(lambda: scene.peer.polls > polls)
        still = scene.a.registry.peers()[0].draining
        scene.b.draining = lambda: False
        scene.poller.hear(said(rev=2))
        await wait_until(lambda: not scene.a.registry.peers()[0].draining)

    assert still


async def test_the_configuration_wins_over_the_dashboard() -> None:
    scene = Scene()

    async with following(scene.poller):
        scene.poller.hear(said(url="http://elsewhere"))
        await wait_until(lambda: scene.names() == ["llm.chat"])

    assert set(scene.peer.asked) == {("config", "http://b")}


async def test_a_peer_that_moved_is_asked_at_its_new_address() -> None:
    scene = Scene()
    poller = scene.make_poller({})

    async with following(poller):
        poller.hear(said())
        await wait_until(lambda: scene.names() == ["llm.chat"])
        entries = scene.a.registry.all_remote()
        poller.hear(said(url="http://b2", rev=2))
        await wait_until(lambda: scene.a.registry.peers()[0].record.endpoints == ["http://b2"])

    assert scene.a.registry.all_remote() == entries


async def test_peers_that_are_left_out_are_said(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()

    scene.make_poller({}).hear(said(url="http://b:0"))

    assert [message.startswith("1 peers are left out: url of node-b") for message in caplog.messages] == [
        True
    ]


async def test_a_disk_that_is_full_costs_the_memory_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    (tmp_path / "home").write_text("no folder")
    poller = scene.make_poller({}, PeersFile(tmp_path / "home"))

    async with following(poller):
        poller.hear(said())
        await wait_until(lambda: scene.names() == ["llm.chat"])

    assert any("the peers are not remembered" in message for message in caplog.messages)


class Crowd:
    """128 peers that answer slowly; `busiest` is how many were asked at the same time."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.busiest = 0
        self._now = 0

    async def manifest(self, peer: PeerRecord) -> bytes:
        self._now += 1
        self.busiest = max(self.busiest, self._now)
        await asyncio.sleep(0.001)
        self._now -= 1
        self.asked.add(peer.node_id_full)
        return msgspec.json.encode(Manifest(node_id=peer.node_id_full))


async def test_a_crowd_is_asked_a_few_at_a_time() -> None:
    crowd = Crowd()
    peers = {f"n{number}": "http://n" for number in range(PEERS_MAX)}
    poller = PeerPoller(make_bus("node-a"), crowd, peers, random=lambda: 0.0)

    async with following(poller):
        await wait_until(lambda: crowd.asked == peers.keys())

    assert crowd.busiest == AT_ONCE


async def test_asking_at_once_is_spread_by_the_number_of_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshcore.aio.peers.SPREAD_SECONDS", 60.0)
    crowd = Crowd()
    spread = iter([0.0, 1.0, 1.0])
    peers = {f"n{number}": "http://n" for number in range(3)}
    poller = PeerPoller(make_bus("node-a"), crowd, peers, random=lambda: next(spread, 0.5))

    async with following(poller):
        await wait_until(lambda: bool(crowd.asked))

    assert len(crowd.asked) == 1
