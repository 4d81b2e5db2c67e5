"""Who offers what: manifests, freshness, and what survives an update."""

from typing import Any

import pytest

from meshcore.capability import CallInfo, CapabilityDescriptor, RouteRequest
from meshcore.errors import FrameError
from meshcore.registry import EntryKey, PeerRecord, Registry
from meshcore.testing import ManualClock

CHAT_KEY = EntryKey("node-b", "", "llm.chat", (1, 0))


async def serve(request: RouteRequest, info: CallInfo) -> dict[str, Any]:
    return {}


def manifest(*names: str, **more: Any) -> dict[str, Any]:
    return {"capabilities": [{"name": name, "version": "1.0", **more} for name in names]}


def test_a_new_peer_adds_its_capabilities() -> None:
    registry = Registry("node-a", clock=ManualClock())

    diff = registry.update_from_peer_manifest(PeerRecord("node-b"), manifest("llm.chat", "llm.embedding"))

    assert [key.name for key in diff.added] == ["llm.chat", "llm.embedding"]
    assert (diff.removed, diff.updated) == ([], [])
    assert [entry.key for entry in registry.find("llm.chat", (1, 0))] == [CHAT_KEY]
    assert registry.find("llm.chat", (1, 1)) == []
    assert [entry.breaker_key for entry in registry.all_remote()] == ["node:node-b", "node:node-b"]


def test_the_same_manifest_again_changes_nothing() -> None:
    registry = Registry("node-a", clock=ManualClock())
    registry.update_from_peer_manifest(PeerRecord("node-b"), manifest("llm.chat"))

    assert registry.update_from_peer_manifest(PeerRecord("node-b"), manifest("llm.chat")) == ([], [], [])


def test_who_asks_for_no_model_gets_the_one_that_is_offered_now() -> None:
    registry = Registry("node-a", clock=ManualClock())
    entry = registry.register_local(CapabilityDescriptor(name="llm.chat"), serve)
    first = entry.default_model

    registry.register_local(CapabilityDescriptor(name="llm.chat", params={"models": ["m1", "m2"]}), serve)

    assert (first, entry.default_model, entry.serves_several) == ("", "m1", True)


def test_case_31_an_update_keeps_what_is_in_flight_and_known_and_tells_the_truth() -> None:
    registry = Registry("node-a", clock=ManualClock())
    registry.update_from_peer_manifest(PeerRecord("node-b"), manifest("llm.chat", "old"))
    entry = registry.find("llm.chat", (1, 0))[0]
    entry.in_flight = 2
    entry.window.succeeded(120.0)

    diff = registry.update_from_peer_manifest(
        PeerRecord("node-b"), manifest("llm.chat", "new", max_concurrent=8, available=False)
    )

    assert [key.name for key in diff.added] == ["new"]
    assert [key.name for key in diff.removed] == ["old"]
    assert [key.name for key in diff.updated] == ["llm.chat"]
    kept = registry.find("llm.chat", (1, 0))[0]
    assert kept is entry
    assert (kept.in_flight, kept.window.p50_ms, kept.descriptor.max_concurrent) == (2, 120.0, 8)
    assert not kept.available
    assert not list(registry.named("old"))


def test_case_31_a_malformed_manifest_is_refused_whole() -> None:
    registry = Registry("node-a", clock=ManualClock())
    registry.update_from_peer_manifest(PeerRecord("node-b"), manifest("llm.chat"))
    malformed = {"draining": True, "capabilities": [{"name": "new"}, {"name": "llm.chat", "version": "1"}]}

    with pytest.raises(FrameError):
        registry.update_from_peer_manifest(PeerRecord("node-b"), malformed)

    assert [entry.key for entry in registry.all()] == [CHAT_KEY]
    assert not registry.peers()[0].draining


def test_a_node_is_no_peer_of_itself() -> None:
    registry = Registry("node-a", clock=ManualClock())

    with pytest.raises(FrameError, match="node itself"):
        registry.update_from_peer_manifest(PeerRecord("node-a"), manifest("llm.chat"))


def test_draining_and_record_follow_the_latest_manifest() -> None:
    registry = Registry("node-a", clock=ManualClock())
    registry.update_from_peer_manifest(PeerRecord("node-b"), {"draining": True, **manifest("llm.chat")})
    was_draining = registry.peers()[0].draining

    moved = PeerRecord("node-b", endpoints=["http://elsewhere"])
    registry.update_from_peer_manifest(moved, manifest("llm.chat"))

    assert was_draining
    assert not registry.peers()[0].draining
    assert registry.all_remote()[0].peer is registry.peers()[0]
    assert registry.peers()[0].record.endpoints == ["http://elsewhere"]


def test_a_known_peer_drains_from_the_moment_that_somebody_says_so_until_its_next_manifest() -> None:
    registry = Registry("node-a", clock=ManualClock())
    registry.update_from_peer_manifest(PeerRecord("node-b"), manifest("llm.chat"))

    registry.note_draining("node-b")
    registry.note_draining("stranger")
    told = [(peer.record.node_id_full, peer.draining) for peer in registry.peers()]
    registry.update_from_peer_manifest(PeerRecord("node-b"), manifest("llm.chat"))

    assert told == [("node-b", True)]
    assert not registry.peers()[0].draining


def test_a_record_that_was_seen_earlier_is_only_that_fresh() -> None:
    clock = ManualClock(1000.0)
    registry = Registry("node-a", clock=clock)

    registry.update_from_peer_manifest(PeerRecord("node-b", last_seen=940.0), manifest("llm.chat"))
    first = registry.peers()[0].heard_at
    registry.update_from_peer_manifest(PeerRecord("node-b", last_seen=5000.0), manifest("llm.chat"))

    assert first == 940.0
    assert registry.peers()[0].heard_at == 1000.0


def test_every_answer_makes_a_peer_fresh_again() -> None:
    clock = ManualClock(1000.0)
    registry = Registry("node-a", clock=clock)
    registry.update_from_peer_manifest(PeerRecord("node-b"), manifest("llm.chat"))

    clock.advance(50.0)
    registry.heard_from("node-b")
    registry.heard_from("stranger")

    assert [peer.heard_at for peer in registry.peers()] == [1050.0]


def test_a_peer_silent_for_more_than_90_s_is_forgotten() -> None:
    clock = ManualClock()
    registry = Registry("node-a", clock=clock)
    registry.update_from_peer_manifest(PeerRecord("node-b"), manifest("llm.chat", "llm.embedding"))

    clock.advance(90.0)
    at_90 = registry.remove_silent()
    clock.advance(0.1)
    after = registry.remove_silent()

    assert (at_90, after) == ([], ["node-b"])
    assert registry.all() == []
    assert registry.peers() == []


def test_removing_a_peer_counts_its_entries() -> None:
    registry = Registry("node-a", clock=ManualClock())
    registry.update_from_peer_manifest(PeerRecord("node-b"), manifest("llm.chat", "llm.embedding"))

    assert registry.remove_peer("node-b") == 2
    assert registry.remove_peer("node-b") == 0


def test_registering_the_same_capability_again_replaces_what_serves_it() -> None:
    registry = Registry("node-a", clock=ManualClock())
    first = registry.register_local(CapabilityDescriptor(name="llm.chat"), serve)
    first.in_flight = 1

    second = registry.register_local(
        CapabilityDescriptor(name="llm.chat", max_concurrent=5), serve, params_compatible=lambda _, __: False
    )

    assert second is first
    assert registry.all_local() == [first]
    assert (first.in_flight, first.descriptor.max_concurrent, first.load()) == (1, 5, 0.2)
    assert not first.fits({})


def test_a_provider_of_several_models_has_a_breaker_for_each() -> None:
    registry = Registry("node-a", clock=ManualClock())
    one = registry.register_local(
        CapabilityDescriptor(name="llm.chat", provider="ollama", params={"model": "llama3"}), serve
    )
    several = registry.register_local(
        CapabilityDescriptor(name="llm.chat", provider="groq", params={"models": ["a", "b"]}), serve
    )
    nameless = registry.register_local(CapabilityDescriptor(name="rag.query"), serve)

    assert (one.breaker_key, one.breaker_model("llama3")) == ("ollama", "")
    assert (several.breaker_key, several.breaker_model("a")) == ("groq", "a")
    assert nameless.breaker_key == "rag.query"


def test_a_capability_may_be_withdrawn_and_a_peers_may_not() -> None:
    registry = Registry("node-a", clock=ManualClock())
    entry = registry.register_local(CapabilityDescriptor(name="llm.chat"), serve)
    registry.update_from_peer_manifest(PeerRecord("node-b"), manifest("llm.chat"))

    assert registry.deregister_local(CHAT_KEY) is None
    assert registry.deregister_local(entry.key) is entry
    assert registry.deregister_local(entry.key) is None
    assert [left.via for left in registry.all()] == ["node-b"]
    assert entry.via == "local"
