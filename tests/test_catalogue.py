"""What a model's name means, and which can be asked for."""

import pytest

from meshcore.alias import AliasBook
from meshcore.capability import CapabilityDescriptor
from meshcore.catalogue import Wanted, aliases_served, can_serve, models_served, wanted
from meshcore.registry import Entry, Peer, PeerRecord


def entry(node: str, provider: str, *models: str) -> Entry:
    params = {"model": models[0], "models": list(models)} if models else {}
    return Entry(node, CapabilityDescriptor(name="llm.chat", provider=provider, params=params))


ENTRIES = [entry("node-a", "ollama", "llama3", "meta/llama-4"), entry("node-b", "groq", "llama3", "zeta")]


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("llama3", Wanted("llama3")),
        ("nobody-has-it", Wanted("nobody-has-it")),
        ("groq/llama3", Wanted("llama3", "groq")),
        ("ollama/meta/llama-4", Wanted("meta/llama-4", "ollama")),
        ("meta/llama-4", Wanted("meta/llama-4")),
        ("ollama/unknown", Wanted("unknown", "ollama")),
        ("nobody/llama3", Wanted("nobody/llama3")),
        ("groq/", Wanted("groq/")),
        ("/llama3", Wanted("/llama3")),
    ],
)
def test_a_name_is_a_model_as_offered_else_a_provider_and_its_model(name: str, meaning: Wanted) -> None:
    assert wanted(name, ENTRIES) == meaning


def test_models_are_listed_once_with_the_first_node_that_offers_them() -> None:
    assert models_served(ENTRIES) == {"llama3": "node-a", "meta/llama-4": "node-a", "zeta": "node-b"}


def test_an_alias_is_served_when_any_entry_of_its_chain_is() -> None:
    book = AliasBook(
        {
            "mesh/second": ("nobody/m", "groq/zeta"),
            "mesh/deep": ("ollama/meta/llama-4",),
            "mesh/other-provider": ("ollama/zeta",),
        }
    )

    assert aliases_served(book, ENTRIES) == ["mesh/deep", "mesh/second"]
    assert aliases_served(book, []) == []


def test_this_nodes_own_providers_serve_unless_it_drains_or_their_breaker_is_open() -> None:
    own = entry("node-a", "ollama", "llama3")

    assert can_serve(own, draining=False, heard_since=0.0, is_healthy=lambda _: True)
    assert not can_serve(own, draining=True, heard_since=0.0, is_healthy=lambda _: True)
    assert not can_serve(own, draining=False, heard_since=0.0, is_healthy=lambda key: key != "ollama")


def test_a_peers_providers_serve_unless_it_drains_is_stale_or_says_no() -> None:
    peer = Peer(PeerRecord("node-b"), heard_at=100.0)
    theirs = Entry("node-b", CapabilityDescriptor(name="llm.chat", provider="groq"), peer)

    def serves(heard_since: float = 100.0) -> bool:
        return can_serve(theirs, draining=True, heard_since=heard_since, is_healthy=lambda _: True)

    assert serves()
    assert not serves(heard_since=100.5)
    theirs.available = False
    assert not serves()
    theirs.available, peer.draining = True, True
    assert not serves()
