"""401 and 403 of the API are counted for the audit trail."""

from collections.abc import Callable
from typing import Any

import pytest

from dashboard.models import AuditEntry, Node, Scope, Token
from dashboard.services import audit_refusals, tokens
from dashboard.services.actor import SYSTEM
from meshcore.clock import utcnow

pytestmark = pytest.mark.django_db


def counted() -> list[tuple[Any, ...]]:
    """Write what was gathered, and tell who was refused what, how often."""
    audit_refusals.flush_all(now=utcnow())
    refused = AuditEntry.objects.filter(action="access").order_by("n")
    return list(refused.values_list("actor_kind", "actor_name", "target", "after__status", "count"))


def test_strangers_are_counted_by_network_and_route(caller: Callable[..., Any], node: Node) -> None:
    for path in ("nodes/node-a", "nodes/node-b", "nodes/msh_a_secret_in_the_address"):
        assert caller().get(path).status_code == 401

    assert counted() == [("stranger", "127.0.0.0/24", "GET api/v1/nodes/<str:name>", 401, 3)]


def test_a_token_without_the_scope_is_counted_by_its_name(caller: Callable[..., Any], node: Node) -> None:
    assert caller(Scope.READ).send("nodes/node-a/drain").status_code == 403
    assert caller(Scope.READ).get("audit").status_code == 403

    assert counted() == [
        ("token", "ci", "POST api/v1/nodes/<str:name>/drain", 403, 1),
        ("token", "ci", "GET api/v1/audit", 403, 1),
    ]


def test_a_revoked_token_is_known_and_a_wrong_secret_is_not(caller: Callable[..., Any], node: Node) -> None:
    known = caller(Scope.READ)
    token = Token.objects.get(name="ci")
    tokens.revoke(token=token, actor=SYSTEM)

    known.get("nodes", **{"X-Request-Id": "r-7"})
    caller().get("nodes", Authorization=f"Bearer msh_{token.prefix}_{'x' * 43}")
    caller().get("nodes", Authorization="Bearer my own password")

    assert counted() == [
        ("token", "ci", "GET api/v1/nodes", 401, 1),
        ("stranger", "127.0.0.0/24", "GET api/v1/nodes", 401, 2),
    ]
    entry = AuditEntry.objects.filter(action="access").earliest("n")
    assert (entry.request_id, entry.token_prefix, entry.address) == ("r-7", token.prefix, "127.0.0.1")
    assert entry.reason == "The token was revoked."
    told = "".join(AuditEntry.objects.values_list("canonical", flat=True))
    assert "password" not in told
    assert "xxxx" not in told


def test_an_invented_method_is_not_told(caller: Callable[..., Any], node: Node) -> None:
    assert caller().send("nodes", method="SECRET").status_code == 401

    assert counted() == [("stranger", "127.0.0.0/24", "another method api/v1/nodes", 401, 1)]


def test_other_answers_are_not_counted(caller: Callable[..., Any], node: Node) -> None:
    assert caller(Scope.READ).get("nodes/nowhere").status_code == 404
    assert caller(Scope.READ).get("nodes").status_code == 200

    assert counted() == []
