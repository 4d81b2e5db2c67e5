"""Follows the peers named in the configuration: asks each for its manifest and feeds the registry.

Every 10 s ± 10 % with a timeout of 3 s (bus-and-breaker §1); the first time at once, and sooner than that
while a peer has not answered yet or takes no calls, so that a mesh that starts together finds itself within
seconds: a node that is asked while it joins says that its gate is closed.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from random import random
from typing import Protocol

from meshcore.aio.bus import CapabilityBus
from meshcore.capability import Manifest, parse_manifest
from meshcore.errors import CallError, FrameError
from meshcore.registry import PeerRecord

POLL_SECONDS = 10.0
POLL_TIMEOUT_SECONDS = 3.0
FIRST_RETRY_SECONDS = 1.0  # doubled up to POLL_SECONDS while a peer has never answered, or takes no calls
JITTER = 0.10
PEERS_MAX = 128  # each has a task and a request every 10 s

logger = logging.getLogger(__name__)


class ManifestSource(Protocol):
    """Where a peer's manifest comes from: an `HttpTransport`."""

    async def manifest(self, peer: PeerRecord) -> bytes:
        """Return the manifest as it came; raises CallError."""


class PeerPoller:
    """Keeps `bus` informed of `peers` (node id -> base URL); the node itself may be among them."""

    def __init__(
        self,
        bus: CapabilityBus,
        source: ManifestSource,
        peers: Mapping[str, str],
        *,
        random: Callable[[], float] = random,
    ) -> None:
        if len(peers) > PEERS_MAX:
            raise ValueError(f"peers: {len(peers)}, expected at most {PEERS_MAX}")
        self._bus = bus
        self._source = source
        self._peers = {node_id: url for node_id, url in peers.items() if node_id != bus.node_id_full}
        self._random = random
        self._known: set[str] = set()  # answered, and not yet forgotten
        self._silent: set[str] = set()  # did not answer last time; for one log line each

    async def run(self) -> None:
        """Follow all peers until cancelled."""
        async with asyncio.TaskGroup() as group:
            for node_id in self._peers:
                group.create_task(self._follow(node_id), name=f"peer-{node_id}")

    async def poll(self, node_id: str) -> bool:
        """Ask one peer once; return whether its manifest was taken."""
        record = PeerRecord(
            node_id, community_id=self._bus.community_id, endpoints=[self._peers[node_id]], source="config"
        )
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

    async def _follow(self, node_id: str) -> None:
        retry_seconds = FIRST_RETRY_SECONDS
        while True:
            await self.poll(node_id)
            if node_id in self._known and not self._is_draining(node_id):
                delay, retry_seconds = POLL_SECONDS, FIRST_RETRY_SECONDS
            else:
                delay, retry_seconds = retry_seconds, min(retry_seconds * 2, POLL_SECONDS)
            await asyncio.sleep(delay * (1 + JITTER * (2 * self._random() - 1)))

    def _is_draining(self, node_id: str) -> bool:
        peers = self._bus.registry.peers()
        return any(peer.draining for peer in peers if peer.record.node_id_full == node_id)

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
