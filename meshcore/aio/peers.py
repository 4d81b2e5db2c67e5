"""Follows the peers that the configuration and the dashboard name: feeds their manifests to the registry.

Every 10 s ± 10 % with a timeout of 3 s (bus-and-breaker §1); the first time at once, and sooner than that
while a peer has not answered yet or drains, so that a mesh that starts together finds itself within seconds.
What the dashboard says of a peer makes it be asked at once. "At once" is spread over a time that grows with
the number of peers, for a new node is heard of by all others in the same moment.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import random
from typing import Protocol

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.peers_file import PeersFile
from meshcore.capability import Manifest, parse_manifest
from meshcore.errors import CallError, FrameError
from meshcore.frames import Peers
from meshcore.peers import PEERS_MAX, KnownPeer, PeerBook
from meshcore.registry import PeerRecord

POLL_SECONDS = 10.0
POLL_TIMEOUT_SECONDS = 3.0
FIRST_RETRY_SECONDS = 1.0  # doubled up to POLL_SECONDS while a peer never answered, or drains
JITTER = 0.10
SPREAD_SECONDS = 0.02  # for each peer: 128 nodes ask a new one within 2.6 s, two ask each other within 40 ms
REFUSED_SHOWN = 5  # in one log line
AT_ONCE = 16  # manifests asked for at a time; each may be a megabyte, and the loop has calls to serve

logger = logging.getLogger(__name__)


class ManifestSource(Protocol):
    """Where a peer's manifest comes from: an `HttpTransport`."""

    async def manifest(self, peer: PeerRecord) -> bytes:
        """Return the manifest as it came; raises CallError."""


@dataclass(slots=True, eq=False)
class _Followed:
    """A peer that is polled."""

    url: str
    task: asyncio.Task[None]
    ask: asyncio.Event = field(default_factory=asyncio.Event)


class PeerPoller:
    """Keeps `bus` informed of `peers` (node id -> base URL), and of those that it hears of.

    The node itself may be among them. Those of the configuration win. With `file` the others are remembered.
    """

    def __init__(
        self,
        bus: CapabilityBus,
        source: ManifestSource,
        peers: Mapping[str, str],
        *,
        file: PeersFile | None = None,
        allow_plain_http: bool = False,
        random: Callable[[], float] = random,
    ) -> None:
        if len(peers) > PEERS_MAX:
            raise ValueError(f"peers: {len(peers)}, expected at most {PEERS_MAX}")
        self._bus = bus
        self._source = source
        self._configured = {node_id: url for node_id, url in peers.items() if node_id != bus.node_id_full}
        self._book = PeerBook(
            node_id=bus.node_id_full, configured=self._configured, allow_plain_http=allow_plain_http
        )
        self._file = file
        self._remembered = file.load() if file else ()
        self._random = random
        self._followed: dict[str, _Followed] = {}
        self._changed = asyncio.Event()  # whom to follow
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._known: set[str] = set()  # answered, and not yet forgotten
        self._silent: set[str] = set()  # did not answer last time; for one log line each
        _say_refused(self._book.recall(self._remembered))
        self._urls = self._wanted()

    async def run(self) -> None:
        """Follow all peers until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                self._follow_the_right_ones(group)
                await self._remember(self._book.known())
                await self._changed.wait()

    def hear(self, frame: Peers) -> None:
        """Take what the dashboard says: who drains counts at once, whoever is named is asked soon."""
        news = self._book.hear(frame)
        _say_refused(news.refused)
        for node_id in news.draining:
            self._bus.registry.note_draining(node_id)
        for node_id in news.ask:
            if (followed := self._followed.get(node_id)) is not None:
                followed.ask.set()
        self._changed.set()

    async def poll(self, node_id: str) -> bool:
        """Ask one peer once; return whether its manifest was taken."""
        record = self._record(node_id)
        try:
            async with asyncio.timeout(POLL_TIMEOUT_SECONDS):
                data = await self._source.manifest(record)
            manifest = self._checked(node_id, parse_manifest(data))
        except FrameError as exc:
            self._note_silence(node_id, f"its manifest is refused: {exc}")
            return False
        except (CallError, TimeoutError) as exc:
            self._failed(node_id, str(exc) or f"no answer within {POLL_TIMEOUT_SECONDS:g} s")
            return False
        self._answered(record, manifest)
        return True

    def _wanted(self) -> dict[str, str]:
        return self._book.urls() | self._configured

    def _follow_the_right_ones(self, group: asyncio.TaskGroup) -> None:
        self._urls = self._wanted()
        for node_id, followed in list(self._followed.items()):
            if self._urls.get(node_id) != followed.url:
                followed.task.cancel()
                del self._followed[node_id]
        for node_id in (self._known | self._silent) - self._urls.keys():
            self._forget(node_id)
        for node_id in self._urls.keys() - self._followed.keys():
            task = group.create_task(self._follow(node_id), name=f"peer-{node_id}")
            self._followed[node_id] = _Followed(self._urls[node_id], task)

    def _forget(self, node_id: str) -> None:
        logger.info("peer %s is not followed any more", node_id)
        self._known.discard(node_id)
        self._silent.discard(node_id)
        self._bus.registry.remove_peer(node_id)
        self._bus.health.forget(f"node:{node_id}")

    async def _follow(self, node_id: str) -> None:
        ask, retry_seconds = self._followed[node_id].ask, FIRST_RETRY_SECONDS
        await asyncio.sleep(self._spread())
        while True:
            ask.clear()
            async with self._slots:
                await self.poll(node_id)
            if self._is_ready(node_id):
                delay, retry_seconds = POLL_SECONDS, FIRST_RETRY_SECONDS
            else:
                delay, retry_seconds = retry_seconds, min(retry_seconds * 2, POLL_SECONDS)
            if await _within(ask, delay * (1 + JITTER * (2 * self._random() - 1))):
                retry_seconds = FIRST_RETRY_SECONDS
                await asyncio.sleep(self._spread())

    def _spread(self) -> float:
        return self._random() * SPREAD_SECONDS * len(self._followed)

    async def _remember(self, known: tuple[KnownPeer, ...]) -> None:
        if self._file is None or known == self._remembered:
            return
        try:
            await asyncio.to_thread(self._file.store, known)
        except OSError as exc:
            logger.warning("the peers are not remembered: %s", exc)
        self._remembered = known

    def _record(self, node_id: str) -> PeerRecord:
        source = "config" if node_id in self._configured else "dashboard"
        return PeerRecord(
            node_id,
            community_id=self._bus.community_id,
            endpoints=[self._urls[node_id]],
            source=source,
        )

    def _is_ready(self, node_id: str) -> bool:
        """Return whether calls may go to a peer: what isn't ready yet is worth another look soon."""
        draining = {peer.record.node_id_full for peer in self._bus.registry.peers() if peer.draining}
        return node_id in self._known and node_id not in draining

    def _checked(self, node_id: str, manifest: Manifest) -> Manifest:
        if manifest.node_id != node_id:
            raise FrameError(f"node_id={manifest.node_id!r}: expected {node_id!r}")
        if manifest.community != self._bus.community_id:
            raise FrameError(f"community={manifest.community!r}: expected {self._bus.community_id!r}")
        return manifest

    def _answered(self, record: PeerRecord, manifest: Manifest) -> None:
        node_id = record.node_id_full
        diff = self._bus.registry.update_from_peer_manifest(record, manifest)
        self._bus.health.probe_succeeded(f"node:{node_id}")
        if node_id not in self._known or node_id in self._silent or any(diff):
            logger.info("peer %s offers %d capabilities", node_id, len(manifest.capabilities))
        self._known.add(node_id)
        self._silent.discard(node_id)

    def _failed(self, node_id: str, reason: str) -> None:
        """Hold it against a peer that is known; one that never answered has nothing to lose."""
        self._note_silence(node_id, reason)
        if node_id in self._known:
            self._bus.health.probe_failed(f"node:{node_id}", reason, interval_seconds=POLL_SECONDS)
        for forgotten in self._bus.registry.remove_silent():
            self._known.discard(forgotten)
            self._bus.health.forget(f"node:{forgotten}")

    def _note_silence(self, node_id: str, reason: str) -> None:
        if node_id not in self._silent:
            self._silent.add(node_id)
            logger.warning("peer %s gives no manifest: %s", node_id, reason)
        if self._book.unanswered(node_id):
            self._changed.set()


def _say_refused(sentences: list[str]) -> None:
    if sentences:
        shown = "; ".join(sentences[:REFUSED_SHOWN])
        logger.warning("%d peers are left out: %s", len(sentences), shown)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`, but not longer than `seconds`; return whether it came."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
