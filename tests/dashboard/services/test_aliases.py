"""Alias tables as orders: whole, or not at all."""

from datetime import datetime

import pytest

from dashboard.models import Action, AuditEntry, DesiredState, Node, Outcome
from dashboard.services import aliases, nodes
from dashboard.services.actor import SYSTEM
from dashboard.services.aliases import InvalidAliases
from dashboard.services.desired import GenerationMismatch
from tests.dashboard.services.test_drain import ALICE

pytestmark = pytest.mark.django_db
TABLE = {"mesh/fast": ["groq/llama-3.1-8b", "ollama/llama3"]}


def put(*on: Node, table: object = TABLE, reason: str = "", **more: object) -> list[tuple[str, int, bool]]:
    done = aliases.put(nodes=on, table=table, reason=reason, actor=ALICE, **more)  # type: ignore[arg-type]
    return [(each.node.name, each.generation, each.changed) for each in done]


def entries() -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=Action.ALIASES_PUT.value).order_by("n"))


def test_a_table_is_ordered_on_each_node_and_audited(node: Node, now: datetime) -> None:
    other = nodes.add(name="node-b", actor=SYSTEM, now=now)[0]

    assert put(node, other, reason="cheaper", now=now) == [("node-a", 1, True), ("node-b", 1, True)]

    assert DesiredState.objects.get(node=node).aliases == TABLE
    assert [(entry.target, entry.generation, entry.reason) for entry in entries()] == [
        ("node:node-a", 1, "cheaper"),
        ("node:node-b", 1, "cheaper"),
    ]
    assert entries()[0].before == {"aliases": None}
    assert entries()[0].after == {"aliases": TABLE}


def test_the_same_table_again_is_no_new_generation_and_is_audited(node: Node) -> None:
    put(node)

    assert put(node) == [("node-a", 1, False)]

    assert len(entries()) == 2


def test_no_table_gives_the_node_its_own_file_back(node: Node) -> None:
    put(node)

    assert put(node, table=None) == [("node-a", 2, True)]

    assert DesiredState.objects.get(node=node).aliases is None


@pytest.mark.parametrize(
    ("table", "reason", "named"),
    [
        ({"fast": ["groq/llama3"]}, "", "fast"),
        ({"mesh/fast": []}, "", "mesh/fast"),
        ({"mesh/fast": ["groq"]}, "", "groq"),
        ({"mesh/fast": ["groq/a", "groq/a"]}, "", "once"),
        ([], "", "table"),
        (TABLE, "r" * 501, "reason"),
    ],
)
def test_a_table_that_is_wrong_anywhere_is_refused_whole(
    node: Node, table: object, reason: str, named: str
) -> None:
    with pytest.raises(InvalidAliases, match=named):
        put(node, table=table, reason=reason)

    assert DesiredState.objects.get(node=node).generation == 0
    assert entries() == []


def test_a_table_that_fits_in_no_frame_is_refused(node: Node) -> None:
    large = {f"mesh/a{n}": [f"groq/{'m' * 190}{k}" for k in range(10)] for n in range(150)}

    with pytest.raises(InvalidAliases, match="bytes"):
        put(node, table=large)

    assert DesiredState.objects.get(node=node).aliases is None


def test_who_knew_another_generation_is_refused_on_record(node: Node) -> None:
    put(node)

    with pytest.raises(GenerationMismatch):
        put(node, table=None, if_generation=7)

    assert DesiredState.objects.get(node=node).aliases == TABLE
    assert entries()[-1].outcome == Outcome.REFUSED.value


def test_a_generation_belongs_to_one_node(node: Node, now: datetime) -> None:
    other = nodes.add(name="node-b", actor=SYSTEM, now=now)[0]

    with pytest.raises(InvalidAliases, match="if_generation"):
        put(node, other, if_generation=0)
