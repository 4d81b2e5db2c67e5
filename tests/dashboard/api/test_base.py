"""What every answer of the API has."""

from collections.abc import Callable
from typing import Any

import pytest

from dashboard.api import streams
from dashboard.api.openapi import document
from dashboard.models import DesiredState, Drain, Node, OutboxRow, Scope, Token
from dashboard.services import tokens
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]


def test_a_client_s_own_request_id_comes_back(caller: Make) -> None:
    answer = caller(Scope.READ).get("nodes", **{"X-Request-Id": "deploy-7.a_b"})

    assert answer["X-Request-Id"] == "deploy-7.a_b"


@pytest.mark.parametrize("asked", ["", "a b", "x" * 65, "a;b"])
def test_any_other_is_replaced(asked: str, caller: Make) -> None:
    answer = caller(Scope.READ).get("nodes", **{"X-Request-Id": asked})

    assert len(answer["X-Request-Id"]) == 32


def test_nothing_is_cached(caller: Make) -> None:
    assert caller(Scope.READ).get("nodes")["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["", "nowhere", "nodes/", "nodes/a/b", "traces/1/2", "../", "../v2/nodes"])
def test_an_address_that_is_none_is_404_as_a_problem(path: str, caller: Make) -> None:
    for api in (caller(), caller(Scope.READ)):
        answer = api.get(path)
        assert answer.status_code == 404
        assert answer["Content-Type"] == "application/problem+json"


def test_an_address_that_is_none_is_404_whatever_is_done_there(caller: Make) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert caller().send("nowhere", b"{}", method=method).status_code == 404


def test_a_method_that_is_not_there_is_405_for_every_token(node: Node, caller: Make) -> None:
    assert caller().send("drains", method="DELETE").status_code == 401
    for api in (caller(Scope.READ), caller(Scope.ADMIN)):
        answer = api.send("drains", method="DELETE")
        assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")
        assert answer.json()["title"] == "Method Not Allowed"


def test_head_is_get_without_its_body(node: Node, caller: Make) -> None:
    answer = caller(Scope.READ).send("nodes/node-a/drain", method="HEAD")

    assert (answer.status_code, answer["ETag"], answer.content) == (200, '"0"', b"")


INGEST = "/api/v1/ingest"
OPERATIONS = [
    (path, method, operation["operationId"])
    for path, operations in document()["paths"].items()
    if path not in (*streams.PATHS, INGEST)  # those are served in front of Django
    for method, operation in operations.items()
]
NAMES = {"name": "node-a", "drain": "1", "trace": "1", "prefix": "k3v9x2qa", "run": "run_k3v9x2_1"}


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_every_operation_refuses_a_parameter_that_it_does_not_know(
    path: str, method: str, operation: str, node: Node, caller: Make
) -> None:
    Drain.objects.create(id=1, node=node, first_generation=1, generation=1, started_at=node.created_at)
    tokens.issue(name="other", scopes=[Scope.READ], actor=SYSTEM)
    Token.objects.filter(name="other").update(prefix=NAMES["prefix"])
    api, before = caller(*set(Scope) - {Scope.NODES_PUSH}), state()

    answer = api.send(f"{path.format(**NAMES)}?dry_run=true".removeprefix("/api/v1/"), method=method.upper())

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "dry_run")
    assert state() == before


def state() -> list[Any]:
    """All that an operation could change."""
    return [list(model.objects.values()) for model in (Node, DesiredState, OutboxRow)] + [
        list(Token.objects.values_list("prefix", "revoked_at").exclude(name="ci"))
    ]
