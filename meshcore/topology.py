"""What a node says of itself and of the mesh as it sees it: its manifest, and a snapshot for people."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from meshcore.alias import AliasBook
from meshcore.capability import Manifest, Offer
from meshcore.frames import BreakerReport
from meshcore.registry import Entry, Peer, Registry
from meshcore.trace import TraceRing

SNAPSHOT_TRACES = 50

IsHealthy = Callable[[str], bool]
"""breaker key -> whether calls may go there now."""


def manifest_of(
    registry: Registry,
    *,
    node_id: str,
    community: str,
    url: str,
    log_id: str,
    draining: bool,
    is_healthy: IsHealthy,
) -> Manifest:
    """Return what the node offers, with what its own breakers refuse marked as unavailable."""
    return Manifest(
        node_id=node_id,
        community=community,
        url=url,
        log_id=log_id,
        draining=draining,
        capabilities=tuple(_offer(entry, is_healthy) for entry in registry.all_local()),
    )


def topology_of(
    registry: Registry,
    *,
    node_id: str,
    now: float,
    observed_at: datetime,
    draining: bool,
    traces: TraceRing,
    breakers: Iterable[BreakerReport],
    aliases: AliasBook,
    sessions: int,
) -> dict[str, Any]:
    """Return all that the node knows of the mesh, as plain data; `now` in monotonic seconds."""
    entries = registry.all()
    return {
        "our_node_id": node_id,
        "observed_at": observed_at.isoformat(),
        "draining": draining,
        "peers": [_peer(peer, now) for peer in registry.peers()],
        "capabilities_local": [_entry(entry) for entry in entries if entry.is_local],
        "capabilities_remote": [_entry(entry) for entry in entries if not entry.is_local],
        "in_flight_total": sum(entry.in_flight for entry in entries),
        "breakers": [msgspec.to_builtins(report) for report in breakers],
        "aliases": {name: [str(step) for step in chain] for name, chain in aliases.chains().items()},
        "sessions": sessions,
        "traces": [msgspec.to_builtins(trace) for trace in traces.last(SNAPSHOT_TRACES)],
    }


def _offer(entry: Entry, is_healthy: IsHealthy) -> Offer:
    descriptor = entry.descriptor
    return Offer(
        name=descriptor.name,
        version=f"{descriptor.version[0]}.{descriptor.version[1]}",
        provider=descriptor.provider,
        params=descriptor.params,
        max_concurrent=descriptor.max_concurrent,
        available=is_healthy(entry.breaker_key),
    )


def _peer(peer: Peer, now: float) -> dict[str, Any]:
    record = peer.record
    return {
        "node_id": record.node_id_full,
        "display_name": record.display_name,
        "community": record.community_id,
        "endpoints": record.endpoints,
        "source": record.source,
        "draining": peer.draining,
        "age_seconds": now - peer.heard_at,
    }


def _entry(entry: Entry) -> dict[str, Any]:
    descriptor = entry.descriptor
    return {
        "node_id": entry.node_id,
        "name": descriptor.name,
        "version": f"{descriptor.version[0]}.{descriptor.version[1]}",
        "provider": descriptor.provider,
        "local": entry.is_local,
        "breaker": entry.breaker_key,
        "params": descriptor.params,
        "available": entry.available,
        "in_flight": entry.in_flight,
        "max_concurrent": descriptor.max_concurrent,
        "success_rate": entry.window.success_rate,
        "p50_ms": entry.window.p50_ms,
        "p99_ms": entry.window.p99_ms(),
    }
