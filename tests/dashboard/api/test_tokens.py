"""`/api/v1/tokens`: made, seen, revoked; their secrets shown once."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from dashboard.models import AuditEntry, Node, Scope, Token

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]
WANTED = {"name": "deploy", "scopes": ["nodes:drain", "read"]}


def body(**wanted: Any) -> bytes:
    return json.dumps({**WANTED, **wanted}).encode()


def test_a_token_is_made_and_its_secret_shown_once(caller: Make) -> None:
    admin = caller(Scope.ADMIN)

    answer = admin.send("tokens", body(networks=["10.0.0.0/8"], expires_seconds=60))

    made = answer.json()
    told = admin.get(f"tokens/{made['prefix']}").json()
    assert (answer.status_code, answer["Location"]) == (201, f"/api/v1/tokens/{made['prefix']}")
    assert made["token"].startswith(f"msh_{made['prefix']}_")
    assert told == {key: value for key, value in made.items() if key != "token"}
    assert (told["name"], told["networks"], told["revoked_at"]) == ("deploy", ["10.0.0.0/8"], None)
    assert told["state"] == "active"
    assert AuditEntry.objects.filter(action="token.issue", actor_name="ci").exists()


def test_a_token_that_was_made_opens_what_it_may(node: Node, caller: Make) -> None:
    secret = caller(Scope.ADMIN).send("tokens", body()).json()["token"]

    api = caller()
    answer = api.get("nodes", Authorization=f"Bearer {secret}")

    assert [row["id"] for row in answer.json()["results"]] == ["node-a"]


def test_a_node_s_own_token_is_bound_to_it(node: Node, caller: Make) -> None:
    wanted = body(scopes=["nodes:push"], node="node-a")

    assert caller(Scope.ADMIN).send("tokens", wanted).json()["node"] == "node-a"


def test_a_token_is_revoked_once_and_again_it_stays_so(caller: Make) -> None:
    admin = caller(Scope.ADMIN)
    prefix = admin.send("tokens", body()).json()["prefix"]

    first = admin.send(f"tokens/{prefix}?reason=leaked", method="DELETE")
    second = admin.send(f"tokens/{prefix}", method="DELETE")

    assert first.status_code == second.status_code == 200
    assert first.json()["state"] == "revoked"
    assert first.json()["revoked_at"] == second.json()["revoked_at"] is not None
    assert AuditEntry.objects.filter(action="token.revoke", reason="leaked").exists()


def test_tokens_come_newest_first_in_pages_without_secrets(caller: Make) -> None:
    admin = caller(Scope.ADMIN)
    for name in ("a", "b"):
        admin.send("tokens", body(name=name))

    first = admin.get("tokens?limit=2")
    rest = admin.get(first.json()["next"].removeprefix("/api/v1/"))

    assert [row["name"] for row in first.json()["results"]] == ["b", "a"]
    assert [row["name"] for row in rest.json()["results"]] == ["ci"]
    digests = Token.objects.values_list("digest", flat=True)
    assert not [digest for digest in digests if digest in first.content.decode()]


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (b"", "name"),
        (body(scopes=["explode"]), "scopes"),
        (body(scopes=[]), "scope"),
        (body(scopes="read"), "scopes"),
        (body(name=""), "name"),
        (body(name="a\tb"), "name"),
        (body(name="a\nb"), "name"),
        (body(node="node-a"), "nodes:push"),
        (body(scopes=["nodes:push"]), "nodes:push"),
        (body(node="node-z"), "node-z"),
        (body(networks=["10.0.0.1/8"]), "networks"),
        (body(expires_seconds=0), "expires_seconds"),
        (body(token="msh_mine"), "token"),
    ],
)
def test_a_token_that_cant_be_is_named_audited_and_not_made(
    wanted: bytes, named: str, node: Node, caller: Make
) -> None:
    admin, before = caller(Scope.ADMIN), Token.objects.count()

    answer = admin.send("tokens", wanted)

    assert answer.status_code == 400
    assert named in answer.json()["detail"]
    assert Token.objects.count() == before
    refused = AuditEntry.objects.get(outcome="refused")
    assert (refused.action, refused.target) == ("token.issue", "token:new")


@pytest.mark.parametrize("prefix", ["aaaaaaaa", "x", "AAAAAAAA", "%00%00%00%00%00%00%00%00"])
def test_a_token_that_is_not_there_is_404(prefix: str, caller: Make) -> None:
    admin = caller(Scope.ADMIN)

    assert admin.get(f"tokens/{prefix}").status_code == 404
    assert admin.send(f"tokens/{prefix}", method="DELETE").status_code == 404
