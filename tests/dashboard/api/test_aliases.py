"""`/api/v1/aliases`: the table that nodes go by in place of the one in their own file."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from dashboard.models import AuditEntry, DesiredState, Node, Scope
from dashboard.services import nodes
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]
TABLE = {"mesh/fast": ["groq/llama", "ollama/llama"]}
PATH = "nodes/node-a/aliases"


def body(**wanted: Any) -> bytes:
    return json.dumps({"aliases": TABLE, **wanted}).encode()


def tables() -> dict[str, Any]:
    """What every node shall go by."""
    return dict(DesiredState.objects.values_list("node__name", "aliases"))


def test_a_node_is_given_a_table_and_its_own_again(online: Node, caller: Make) -> None:
    admin = caller(Scope.ADMIN)

    put = admin.send(PATH, body(reason="groq is back"), method="PUT")
    told = caller(Scope.READ).get(PATH)
    end = admin.send(f"{PATH}?reason=enough", method="DELETE")

    assert (put.status_code, put["ETag"], put.json()["changed"]) == (202, '"1"', True)
    assert (told["ETag"], told.json()["aliases"], told.json()["observed"]) == ('"1"', TABLE, "pending")
    assert (end.status_code, end["ETag"], tables()) == (202, '"2"', {"node-a": None})
    reasons = AuditEntry.objects.filter(action="aliases.put").order_by("n").values_list("reason", flat=True)
    assert list(reasons) == ["groq is back", "enough"]


def test_a_table_that_the_node_confirmed_is_200(online: Node, caller: Make) -> None:
    admin = caller(Scope.ADMIN)
    admin.send(PATH, body(), method="PUT")
    Node.objects.update(observed_generation=1)

    answer = admin.send(PATH, body(), method="PUT")

    assert (answer.status_code, answer.json()["changed"]) == (200, False)


def test_all_nodes_are_given_one_table(node: Node, now: datetime, caller: Make) -> None:
    nodes.add(name="node-b", actor=SYSTEM, now=now)

    answer = caller(Scope.ADMIN).send("aliases", body(), method="PUT")

    assert (answer.status_code, [row["node"] for row in answer.json()["results"]]) == (
        202,
        ["node-a", "node-b"],
    )
    assert tables() == {"node-a": TABLE, "node-b": TABLE}


def test_the_list_counts_and_goes_by_pages(node: Node, now: datetime, caller: Make) -> None:
    for name in ("node-b", "node-c"):
        nodes.add(name=name, actor=SYSTEM, now=now)
    caller(Scope.ADMIN).send("nodes/node-b/aliases", body(), method="PUT")
    api = caller(Scope.READ)

    first = api.get("aliases?limit=2").json()
    rest = api.get(first["next"].removeprefix("/api/v1/")).json()

    assert [(row["node"], row["aliases"]) for row in first["results"]] == [("node-a", None), ("node-b", 1)]
    assert ([row["node"] for row in rest["results"]], rest["next"]) == (["node-c"], None)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (b"", "aliases"),
        (b'{"aliases": null}', "aliases"),
        (b'{"aliases": {"mesh/fast": "groq/llama"}}', "aliases"),
        (b'{"aliases": {"fast": ["groq/llama"]}}', "fast"),
        (b'{"aliases": {"mesh/fast": []}}', "mesh/fast"),
        (b'{"aliases": {"mesh/fast": ["llama"]}}', "mesh/fast"),
        (body(reason="x" * 501), "501"),
    ],
)
@pytest.mark.parametrize("path", [PATH, "aliases"])
def test_a_table_that_cant_be_is_named_audited_and_changes_nothing(
    path: str, wrong: bytes, named: str, node: Node, caller: Make
) -> None:
    answer = caller(Scope.ADMIN).send(path, wrong, method="PUT")

    assert answer.status_code == 400
    assert named in answer.json()["detail"]
    assert tables() == {"node-a": None}
    assert AuditEntry.objects.get(outcome="refused").action == "aliases.put"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_another_generation_is_412(method: str, node: Node, caller: Make) -> None:
    sent = body() if method == "PUT" else b""

    answer = caller(Scope.ADMIN).send(PATH, sent, method=method, headers={"If-Match": '"7"'})

    assert (answer.status_code, answer["ETag"]) == (412, '"0"')
    assert AuditEntry.objects.get(outcome="refused").target == "node:node-a"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_node_that_is_not_there_is_404(method: str, caller: Make) -> None:
    api = caller(Scope.ADMIN, Scope.READ)

    assert api.send("nodes/node-z/aliases", b"", method=method).status_code == 404
