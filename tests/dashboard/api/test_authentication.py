"""Tokens in the one header, and nothing else, open the API."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.test import Client

from dashboard.models import AuditEntry, DesiredState, Node, Scope, Token
from meshcore.clock import utcnow

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]
PATH = "nodes/node-a/drain"


def generation() -> int:
    """Return node-a's desired generation."""
    return DesiredState.objects.get(node__name="node-a").generation


def test_without_a_token_it_is_401_and_nothing_happens(node: Node, caller: Make) -> None:
    answer = caller().send(PATH)

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Bearer realm="meshboard"'
    assert answer["Content-Type"] == "application/problem+json"
    assert generation() == 0
    assert not AuditEntry.objects.filter(action="drain").exists()


@pytest.mark.parametrize(
    "header",
    ["Bearer msh_aaaaaaaa_" + "a" * 43, "Bearer", "Bearer x", "Basic YTpi", "Token x", "Bearer msh_a\u00e9"],
)
def test_a_token_that_nobody_made_is_401(header: str, node: Node) -> None:
    answer = Client().post(f"/api/v1/{PATH}", headers={"Authorization": header})

    assert answer.status_code == 401
    assert generation() == 0


def test_a_token_in_the_address_is_none(node: Node, caller: Make) -> None:
    secret = caller(Scope.NODES_DRAIN)._headers["Authorization"].removeprefix("Bearer ")

    assert Client().post(f"/api/v1/{PATH}?token={secret}&access_token={secret}").status_code == 401


def test_a_session_opens_nothing_here(node: Node, alice: User) -> None:
    browser = Client()
    browser.force_login(alice)

    assert browser.post(f"/api/v1/{PATH}").status_code == 401
    assert browser.get(f"/api/v1/{PATH}").status_code == 401


def test_a_revoked_token_is_refused_at_once(node: Node, caller: Make) -> None:
    api = caller(Scope.NODES_DRAIN)
    Token.objects.filter(name="ci").update(revoked_at=utcnow())

    answer = api.send(PATH)

    assert (answer.status_code, answer.json()["detail"]) == (401, "The token was revoked.")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"expires_at": utcnow() - timedelta(seconds=1)}, "expired"),
        ({"networks": ["192.0.2.0/24"]}, "address"),
    ],
)
def test_whoever_has_the_secret_hears_why_it_does_not_count(
    state: dict[str, Any], said: str, node: Node, caller: Make
) -> None:
    api = caller(Scope.NODES_DRAIN)
    Token.objects.filter(name="ci").update(**state)

    answer = api.send(PATH)

    assert answer.status_code == 401
    assert said in answer.json()["detail"]


def test_the_scheme_is_read_in_any_case(node: Node, caller: Make) -> None:
    secret = caller(Scope.NODES_DRAIN)._headers["Authorization"].removeprefix("Bearer ")

    assert Client().get("/api/v1/schema", headers={"Authorization": f"bearer  {secret}"}).status_code == 403


def test_tokens_that_can_not_be_checked_open_nothing(node: Node, caller: Make) -> None:
    api = caller(Scope.NODES_DRAIN)

    with patch("dashboard.services.tokens.Token.objects.select_related", side_effect=DatabaseError("gone")):
        answer = api.send(PATH)

    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer["Content-Type"] == "application/problem+json"
    assert generation() == 0
