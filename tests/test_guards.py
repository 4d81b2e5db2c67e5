"""What a drain must not take from the mesh unasked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore import guards
from meshcore.capability import Offer
from meshcore.guards import (
    Blocker,
    BlockerKind,
    Carried,
    Member,
    carried,
    draining_max,
)

CHAT = Carried("llm.chat", 1)
EMBED = Carried("llm.embed", 1)
LLAMA = Carried("llm.chat", 1, "llama3")


@dataclass(frozen=True, kw_only=True)
class Node(Member):
    """A member and what it could carry."""

    carries: frozenset[Carried]


def member(name: str, *carries: Carried, drains: bool = False, there: bool = True) -> Node:
    return Node(name=name, drains=drains, there=there, carries=frozenset(carries))


def blockers(name: str, nodes: Sequence[Node]) -> list[Blocker]:
    carries = {node.name: node.carries for node in nodes}
    return guards.blockers(name, nodes, carries=carries.__getitem__)


def kinds(found: Sequence[Blocker]) -> list[BlockerKind]:
    return [blocker.kind for blocker in found]


def test_a_node_that_others_can_stand_in_for_may_drain() -> None:
    assert blockers("a", [member("a", CHAT), member("b", CHAT), member("c", CHAT)]) == []


def test_the_last_healthy_provider_of_a_capability_may_not() -> None:
    found = blockers("a", [member("a", CHAT, EMBED), member("b", CHAT), member("c", CHAT)])

    assert found == [
        Blocker(
            kind=BlockerKind.LAST_PROVIDER,
            detail="a has the last healthy provider of llm.embed",
            subject="llm.embed",
        )
    ]


def test_a_model_counts_like_a_capability() -> None:
    found = blockers("a", [member("a", CHAT, LLAMA), member("b", CHAT)])

    assert [blocker.detail for blocker in found] == ["a has the last healthy provider of llm.chat for llama3"]


def test_many_lost_models_are_one_sentence() -> None:
    models = [Carried("llm.chat", 1, f"m{n}") for n in range(8)]

    [found] = blockers("a", [member("a", CHAT, *models), member("b", CHAT)])

    assert found.detail.endswith("for m0, m1, m2, m3, m4 and 3 more")


def test_another_major_version_stands_in_for_nobody() -> None:
    found = blockers("a", [member("a", Carried("llm.chat", 2)), member("b", CHAT), member("c", CHAT)])

    assert [blocker.detail for blocker in found] == ["a has the last healthy provider of llm.chat 2.x"]


@pytest.mark.parametrize("other", [member("b", CHAT, there=False), member("b", CHAT, drains=True)])
def test_who_is_away_or_drains_stands_in_for_nobody(other: Node) -> None:
    assert BlockerKind.LAST_PROVIDER in kinds(blockers("a", [member("a", CHAT), other]))


def test_no_more_nodes_are_looked_into_than_must_be() -> None:
    asked: list[str] = []

    def carries(name: str) -> frozenset[Carried]:
        asked.append(name)
        return frozenset({CHAT})

    nodes = [member("c", drains=True), *map(member, "abde"), member("f", there=False)]

    assert guards.blockers("a", nodes, carries=carries) == []
    assert asked == ["a", "b"]


def test_draining_who_is_away_loses_nothing() -> None:
    assert blockers("a", [member("a", CHAT, there=False), member("b", CHAT)]) == []


def test_half_of_the_nodes_may_drain_and_one_always() -> None:
    assert [draining_max(n) for n in (1, 2, 3, 4, 5, 6)] == [1, 1, 1, 2, 2, 3]


def test_one_more_than_may_drain_is_blocked_and_names_who_does() -> None:
    nodes = [member(name, CHAT) for name in "abc"] + [member("d", drains=True, there=False)]

    assert blockers("a", nodes) == []
    assert blockers("a", [*nodes, member("e", drains=True)]) == [
        Blocker(
            kind=BlockerKind.TOO_MANY_DRAINING,
            detail="3 of 5 nodes would drain; at most 2 may at once",
            subject="d, e",
        )
    ]


def test_nodes_that_are_neither_there_nor_drained_make_room_for_nobody() -> None:
    gone = [member(f"x{n}", there=False) for n in range(9)]

    assert kinds(blockers("a", [member("a"), member("b", drains=True), *gone])) == [
        BlockerKind.TOO_MANY_DRAINING
    ]


def test_who_drains_already_is_judged_no_more() -> None:
    nodes = [member("a", CHAT, drains=True), member("b", drains=True), member("c", drains=True)]

    assert blockers("a", nodes) == []
    assert blockers("nobody", nodes) == []


def test_a_breaker_of_the_provider_refuses_all_its_models_and_one_of_a_model_that_one() -> None:
    offer = Offer(name="llm.chat", provider="ollama", params={"model": "a", "models": ["a", "b"]})

    def of(*refused: str) -> set[str]:
        return {each.model for each in carried([offer], is_refused=set(refused).__contains__)}

    assert of() == {"", "a", "b"}
    assert of("ollama/a") == {"", "b"}
    assert of("ollama/a", "ollama/b") == set()
    assert of("ollama") == set()
    assert of("groq") == {"", "a", "b"}


def test_an_offer_without_provider_and_models_goes_by_its_own_name() -> None:
    offer = Offer(name="rag.query")

    assert carried([offer], is_refused=lambda key: False) == {Carried("rag.query", 1)}
    assert carried([offer], is_refused=lambda key: key == "rag.query") == frozenset()


def test_an_offer_of_an_unreadable_version_carries_nothing() -> None:
    assert carried([Offer(name="llm.chat", version="new")], is_refused=lambda key: False) == frozenset()


members = st.lists(
    st.builds(
        Node,
        name=st.sampled_from("abcdef"),
        drains=st.booleans(),
        there=st.booleans(),
        carries=st.frozensets(st.sampled_from([CHAT, EMBED, LLAMA])),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda each: each.name,
)


def serves(nodes: Sequence[Node]) -> frozenset[Carried]:
    """Return what the mesh serves, told in the plainest way."""
    return frozenset().union(*(each.carries for each in nodes if each.there and not each.drains))


def drained(name: str, nodes: Sequence[Node]) -> list[Node]:
    return [replace(each, drains=True) if each.name == name else each for each in nodes]


@given(members)
def test_a_drain_that_passes_takes_nothing_from_the_mesh(nodes: list[Node]) -> None:
    name = nodes[0].name

    found = blockers(name, nodes)

    lost = serves(nodes) - serves(drained(name, nodes))
    assert {each.subject for each in found if each.kind is BlockerKind.LAST_PROVIDER} == {
        each.capability for each in lost
    }


@given(members, st.lists(st.sampled_from("abcdef"), max_size=12))
def test_drains_one_after_the_other_never_pass_the_limit_or_empty_the_mesh(
    nodes: list[Node], asked: list[str]
) -> None:
    nodes = [replace(each, drains=False) for each in nodes]
    served = serves(nodes)

    for name in asked:
        if not blockers(name, nodes):
            nodes = drained(name, nodes)

    assert serves(nodes) == served
    draining = sum(each.drains for each in nodes)
    assert draining <= draining_max(sum(each.there or each.drains for each in nodes))
