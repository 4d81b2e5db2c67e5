"""What a node says of itself."""

import json
from typing import Any

from meshcore.alias import AliasBook
from meshcore.breaker import BreakerState
from meshcore.capability import CallInfo, CapabilityDescriptor, Offer, RouteRequest
from meshcore.frames import BreakerReport
from meshcore.registry import PeerRecord, Registry
from meshcore.testing import START, ManualClock
from meshcore.topology import manifest_of, topology_of
from meshcore.trace import TraceRing


async def serve(request: RouteRequest, info: CallInfo) -> dict[str, Any]:
    return {}


def registry(clock: ManualClock) -> Registry:
    registry = Registry("node-a", clock=clock)
    for provider in ("good", "bad"):
        registry.register_local(
            CapabilityDescriptor(name="llm.chat", version=(1, 2), provider=provider), serve
        )
    registry.update_from_peer_manifest(
        PeerRecord("node-b", "B", "default", ["http://b"]), {"capabilities": [{"name": "rag.query"}]}
    )
    return registry


def test_a_manifest_has_the_nodes_own_offers_and_what_they_are_worth_now() -> None:
    manifest = manifest_of(
        registry(ManualClock()),
        node_id="node-a",
        community="default",
        url="http://a",
        log_id="log-1",
        draining=True,
        is_healthy=lambda key: key != "bad",
    )

    assert (manifest.node_id, manifest.url, manifest.log_id, manifest.draining) == (
        "node-a",
        "http://a",
        "log-1",
        True,
    )
    assert manifest.capabilities == (
        Offer(name="llm.chat", version="1.2", provider="good"),
        Offer(name="llm.chat", version="1.2", provider="bad", available=False),
    )


def test_a_snapshot_is_plain_data_with_ages() -> None:
    clock = ManualClock()
    known = registry(clock)
    known.all_local()[0].in_flight = 1
    clock.advance(5.0)

    snapshot = topology_of(
        known,
        node_id="node-a",
        now=clock(),
        observed_at=START,
        draining=False,
        traces=TraceRing(),
        breakers=[BreakerReport(key="good", state=BreakerState.OPEN, seconds_remaining=41.0, since=START)],
        aliases=AliasBook({"mesh/fast": ("good/m", "bad/m")}),
        sessions=3,
    )

    assert snapshot["peers"] == [
        {
            "node_id": "node-b",
            "display_name": "B",
            "community": "default",
            "endpoints": ["http://b"],
            "source": "manual",
            "draining": False,
            "age_seconds": 5.0,
        }
    ]
    assert [entry["provider"] for entry in snapshot["capabilities_local"]] == ["good", "bad"]
    assert [entry["name"] for entry in snapshot["capabilities_remote"]] == ["rag.query"]
    assert [entry["breaker"] for entry in snapshot["capabilities_local"]] == ["good", "bad"]
    assert [entry["breaker"] for entry in snapshot["capabilities_remote"]] == ["node:node-b"]
    assert (snapshot["in_flight_total"], snapshot["sessions"], snapshot["traces"]) == (1, 3, [])
    assert snapshot["aliases"] == {"mesh/fast": ["good/m", "bad/m"]}
    assert [(each["key"], each["state"]) for each in snapshot["breakers"]] == [("good", "open")]
    assert json.loads(json.dumps(snapshot))["observed_at"] == START.isoformat()
