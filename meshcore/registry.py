"""Who offers what: this node's own capabilities and its peers' manifests (bus-and-breaker §1).

An entry is one capability of one provider on one node. It outlives manifest updates, so that what is in
flight and what is known of its speed stay; breakers live elsewhere and are named by `breaker_key`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from meshcore.capability import (
    CallInfo,
    CapabilityDescriptor,
    Manifest,
    RouteRequest,
    Version,
    describe,
    offered_models,
    params_match,
    parse_manifest,
    version_serves,
)
from meshcore.clock import Clock
from meshcore.errors import FrameError
from meshcore.window import Window

Handler = Callable[[RouteRequest, CallInfo], Awaitable[dict[str, Any]]]
StreamHandler = Callable[[RouteRequest, CallInfo], AsyncIterator[Any]]
ParamsCompatible = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]
"""(offered params, requested params) -> whether they fit; in place of the common rule."""

FORGET_SECONDS = 90.0  # a peer that was silent for longer is removed, 30 s after it went stale by default

_NONE: Final[Mapping["EntryKey", "Entry"]] = {}


class EntryKey(NamedTuple):
    """Identity of an entry."""

    node_id: str
    provider: str
    name: str
    version: Version


@dataclass(slots=True)
class PeerRecord:
    """A peer as it was met; `last_seen` is in this process's monotonic seconds, 0 = now."""

    node_id_full: str
    display_name: str = ""
    community_id: str = ""
    endpoints: list[str] = field(default_factory=list)
    last_seen: float = 0.0
    source: str = "manual"


@dataclass(slots=True, eq=False)
class Peer:
    """A peer that this node knows: how to reach it, when it was heard of last, whether it drains."""

    record: PeerRecord
    heard_at: float
    draining: bool = False
    log_id: str = ""  # of its run log, by its manifest


class Entry:
    """One capability of one provider; `peer` is None for this node's own. Compared by identity."""

    __slots__ = (
        "available",
        "breaker_key",
        "default_model",
        "descriptor",
        "handler",
        "in_flight",
        "is_local",
        "node_id",
        "params_compatible",
        "peer",
        "serves_several",
        "slots",
        "stream",
        "via",
        "window",
    )

    def __init__(self, node_id: str, descriptor: CapabilityDescriptor, peer: Peer | None = None) -> None:
        self.node_id = node_id
        self.peer = peer
        self.is_local = peer is None
        self.via = "local" if peer is None else node_id  # who serves it, as results are stamped
        self.breaker_key = f"node:{node_id}" if peer else descriptor.provider or descriptor.name
        self.available = True  # a peer's own breaker may refuse it for now
        self.handler: Handler | None = None
        self.stream: StreamHandler | None = None
        self.params_compatible: ParamsCompatible | None = None
        self.in_flight = 0
        self.window = Window()
        self.describe(descriptor)

    @property
    def key(self) -> EntryKey:
        """Identity within this node's registry."""
        return _key(self.node_id, self.descriptor)

    def describe(self, descriptor: CapabilityDescriptor) -> None:
        """Take another descriptor of the same key; what is in flight and known stays."""
        self.descriptor = descriptor
        models = offered_models(descriptor.params)
        self.default_model = models[0] if models else ""  # for who asks for none
        self.serves_several = len(models) > 1
        self.slots = max(descriptor.max_concurrent, 1)

    def load(self) -> float:
        """Return calls in flight as a share of the most that are allowed."""
        return self.in_flight / self.slots

    def fits(self, requested: Mapping[str, Any]) -> bool:
        """Return whether it can do what the requested params ask."""
        if self.params_compatible is not None:
            return self.params_compatible(self.descriptor.params, requested)
        return params_match(self.descriptor, requested)

    def breaker_model(self, model: str) -> str:
        """Return `model` when this provider serves several, each with a breaker of its own; else ""."""
        return model if self.is_local and self.serves_several else ""


class Diff(NamedTuple):
    """What a manifest changed."""

    added: list[EntryKey]
    removed: list[EntryKey]
    updated: list[EntryKey]


class Registry:
    """The entries that node `node_id` may route to; `clock` gives monotonic seconds."""

    def __init__(self, node_id: str, *, clock: Clock) -> None:
        self._node_id = node_id
        self._clock = clock
        self._by_name: dict[str, dict[EntryKey, Entry]] = {}
        self._peers: dict[str, Peer] = {}

    def register_local(
        self,
        descriptor: CapabilityDescriptor,
        handler: Handler,
        *,
        stream: StreamHandler | None = None,
        params_compatible: ParamsCompatible | None = None,
    ) -> Entry:
        """Offer a capability of this node; the same one again replaces what serves it, keeps its numbers."""
        entry = self._by_name.get(descriptor.name, {}).get(_key(self._node_id, descriptor))
        if entry is None:
            entry = Entry(self._node_id, descriptor)
            self._put(entry)
        entry.describe(descriptor)
        entry.handler = handler
        entry.stream = stream
        entry.params_compatible = params_compatible
        return entry

    def deregister_local(self, key: EntryKey) -> Entry | None:
        """Stop to offer one of this node's own capabilities; return its entry when there was one."""
        entry = self._by_name.get(key.name, {}).get(key)
        if entry is None or not entry.is_local:
            return None
        self._drop(key)
        return entry

    def update_from_peer_manifest(
        self, record: PeerRecord, manifest: Mapping[str, Any] | Manifest | bytes
    ) -> Diff:
        """Make a peer's entries what its manifest says; FrameError, and nothing changed, when malformed."""
        if record.node_id_full == self._node_id:
            raise FrameError(f"node_id={record.node_id_full!r}: expected a peer, this is the node itself")
        parsed = parse_manifest(manifest)
        offers = {
            _key(record.node_id_full, d): (d, o.available) for o in parsed.capabilities for d in [describe(o)]
        }
        peer = self._meet(record, draining=parsed.draining)
        peer.log_id = parsed.log_id
        known = {entry.key: entry for entry in self.of_peer(record.node_id_full)}
        diff = Diff(
            [key for key in offers if key not in known], [key for key in known if key not in offers], []
        )
        for key, (descriptor, available) in offers.items():
            entry = known.get(key)
            if entry is None:
                entry = Entry(record.node_id_full, descriptor, peer)
                self._put(entry)
            elif (entry.descriptor, entry.available) != (descriptor, available):
                diff.updated.append(key)
                entry.describe(descriptor)
            entry.available = available
        for key in diff.removed:
            self._drop(key)
        return diff

    def heard_from(self, node_id: str) -> None:
        """Note that a peer answered just now; one that is not known stays so."""
        if (peer := self._peers.get(node_id)) is not None:
            peer.heard_at = self._clock()

    def note_draining(self, node_id: str) -> None:
        """Note that a peer takes no calls for now, until its own next manifest; one not known stays so."""
        if (peer := self._peers.get(node_id)) is not None:
            peer.draining = True

    def remove_peer(self, node_id: str) -> int:
        """Forget a peer; return how many entries went with it."""
        self._peers.pop(node_id, None)
        gone = [entry.key for entry in self.of_peer(node_id)]
        for key in gone:
            self._drop(key)
        return len(gone)

    def remove_silent(self, seconds: float = FORGET_SECONDS) -> list[str]:
        """Forget every peer that was silent for longer; return their ids."""
        now = self._clock()
        silent = [node_id for node_id, peer in self._peers.items() if now - peer.heard_at > seconds]
        for node_id in silent:
            self.remove_peer(node_id)
        return silent

    def named(self, name: str) -> Iterable[Entry]:
        """Return all entries of a capability, whatever their version."""
        return self._by_name.get(name, _NONE).values()

    def find(self, name: str, version: Version) -> list[Entry]:
        """Return the entries that serve a version of a capability."""
        return [entry for entry in self.named(name) if version_serves(entry.descriptor.version, version)]

    def all(self) -> list[Entry]:
        """Return every entry."""
        return [entry for entries in self._by_name.values() for entry in entries.values()]

    def all_local(self) -> list[Entry]:
        """Return this node's own entries."""
        return [entry for entry in self.all() if entry.is_local]

    def all_remote(self) -> list[Entry]:
        """Return the peers' entries."""
        return [entry for entry in self.all() if not entry.is_local]

    def of_peer(self, node_id: str) -> list[Entry]:
        """Return the entries of one peer."""
        return [entry for entry in self.all_remote() if entry.node_id == node_id]

    def peers(self) -> list[Peer]:
        """Return the known peers."""
        return list(self._peers.values())

    def _meet(self, record: PeerRecord, *, draining: bool) -> Peer:
        now = self._clock()
        heard_at = min(record.last_seen, now) if record.last_seen else now
        peer = self._peers.get(record.node_id_full)
        if peer is None:
            peer = self._peers[record.node_id_full] = Peer(record, heard_at)
        peer.record = record
        peer.heard_at = max(peer.heard_at, heard_at)
        peer.draining = draining
        return peer

    def _put(self, entry: Entry) -> None:
        self._by_name.setdefault(entry.descriptor.name, {})[entry.key] = entry

    def _drop(self, key: EntryKey) -> None:
        entries = self._by_name[key.name]
        del entries[key]
        if not entries:
            del self._by_name[key.name]


def _key(node_id: str, descriptor: CapabilityDescriptor) -> EntryKey:
    return EntryKey(node_id, descriptor.provider, descriptor.name, descriptor.version)
