"""Tokens: made here, kept as a hash, refused for a reason that only their holder hears."""

from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import DatabaseError

from dashboard.models import Action, AuditEntry, Node, Scope, Token
from dashboard.services import tokens
from dashboard.services.actor import SYSTEM
from dashboard.services.tokens import InvalidToken, Refusal, TokenRejected

pytestmark = pytest.mark.django_db
HERE = "192.0.2.7"


def make(now: datetime, **more: Any) -> tuple[Token, str]:
    """Make a token that may drain."""
    wanted: dict[str, Any] = {"name": "ci", "scopes": [Scope.NODES_DRAIN], **more}
    return tokens.issue(actor=SYSTEM, now=now, **wanted)


def refusal(secret: str, now: datetime, address: str = HERE) -> Refusal:
    """Return why a secret is refused."""
    with pytest.raises(TokenRejected) as rejected:
        tokens.authenticate(secret, address=address, now=now)
    return rejected.value.kind


def test_a_token_opens_with_its_secret_and_nothing_of_it_is_kept(now: datetime) -> None:
    token, secret = make(now)

    found = tokens.authenticate(secret, address=HERE, now=now)

    assert found == token
    assert tokens.FORM.fullmatch(secret)
    assert secret.startswith(f"msh_{token.prefix}_")
    kept = str(Token.objects.values().get()) + str(list(AuditEntry.objects.values()))
    assert secret.rsplit("_", 1)[1] not in kept


def test_making_a_token_is_audited(now: datetime) -> None:
    token, _ = make(now, networks=["10.0.0.0/8"], expires_seconds=60.0)

    entry = AuditEntry.objects.get(action=Action.TOKEN_ISSUE.value)

    assert entry.target == f"token:{token.prefix}"
    assert entry.after == {
        "name": "ci",
        "scopes": ["nodes:drain"],
        "node": None,
        "networks": ["10.0.0.0/8"],
        "expires_at": "2026-01-01T12:01:00+00:00",
    }


@pytest.mark.parametrize(
    "secret", ["", "x", "msh_", "msh_abcdefgh_short", "msh_ABCDEFGH_" + "a" * 43, "a" * 56]
)
def test_what_is_no_token_is_unknown(secret: str, now: datetime) -> None:
    assert refusal(secret, now) is Refusal.UNKNOWN


def test_a_right_prefix_with_a_wrong_secret_is_unknown(now: datetime) -> None:
    token, secret = make(now)

    assert refusal(f"msh_{token.prefix}_{'A' * 43}", now) is Refusal.UNKNOWN
    assert refusal(secret.replace(token.prefix, "zzzzzzzz"), now) is Refusal.UNKNOWN
    assert refusal(secret + "\n", now) is Refusal.UNKNOWN


def test_an_expired_token_is_refused_from_that_moment_on(now: datetime) -> None:
    _, secret = make(now, expires_seconds=60.0)

    assert tokens.authenticate(secret, address=HERE, now=now + timedelta(seconds=59))
    assert refusal(secret, now + timedelta(seconds=60)) is Refusal.EXPIRED


def test_a_revoked_token_is_refused_with_the_next_request(now: datetime) -> None:
    token, secret = make(now)

    assert tokens.revoke(token=token, actor=SYSTEM, reason="leaked", now=now) is True
    assert tokens.revoke(token=token, actor=SYSTEM, now=now) is False

    assert refusal(secret, now) is Refusal.REVOKED
    assert [entry.reason for entry in AuditEntry.objects.filter(action=Action.TOKEN_REVOKE.value)] == [
        "",
        "leaked",
    ]


@pytest.mark.parametrize(
    ("address", "within"),
    [("10.1.2.3", True), ("fd00::1", True), ("192.0.2.7", False), ("", False), ("unix", False)],
)
def test_a_token_counts_only_within_its_networks(address: str, within: bool, now: datetime) -> None:
    token, _ = make(now, networks=["10.0.0.0/8", "fd00::/8"])

    found = tokens.refusal_of(token, address=address, now=now)

    assert found is (None if within else Refusal.NETWORK)


def test_its_last_use_is_written_at_most_once_a_minute(now: datetime) -> None:
    token, secret = make(now)

    for seconds in (0, 59, 61):
        tokens.authenticate(secret, address=HERE, now=now + timedelta(seconds=seconds))
        token.refresh_from_db()
        assert token.last_used_at == now + timedelta(seconds=0 if seconds < 60 else 61)


def test_a_last_use_that_can_not_be_written_locks_nobody_out(now: datetime) -> None:
    _, secret = make(now)

    with patch("django.db.models.query.QuerySet.update", side_effect=DatabaseError("disk full")):
        assert tokens.authenticate(secret, address=HERE, now=now)


def test_tokens_that_can_not_be_checked_let_nobody_in(now: datetime) -> None:
    _, secret = make(now)

    with (
        patch("django.db.models.query.QuerySet.first", side_effect=DatabaseError("gone")),
        pytest.raises(tokens.TokensUnavailable),
    ):
        tokens.authenticate(secret, address=HERE, now=now)


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"scopes": []}, "no scope"),
        ({"scopes": [Scope.NODES_PUSH]}, "bound to one node"),
        ({"networks": ["10.0.0.1/8"]}, "networks"),
        ({"networks": ["here"]}, "networks"),
        ({"expires_seconds": 0}, "expires_seconds"),
        ({"expires_seconds": 1e300}, "at most 315360000"),
        ({"expires_seconds": float("nan")}, "expires_seconds=nan"),
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(wish: dict[str, Any], named: str, now: datetime) -> None:
    with pytest.raises(InvalidToken, match=named):
        make(now, **wish)

    assert not Token.objects.exists()


def test_a_node_s_token_pushes_for_it_and_does_nothing_else(node: Node, now: datetime) -> None:
    token, _ = make(now, scopes=[Scope.NODES_PUSH], node=node)
    assert token.node == node

    with pytest.raises(InvalidToken, match="no other scope"):
        make(now, scopes=[Scope.NODES_PUSH, Scope.READ], node=node)
    with pytest.raises(InvalidToken, match="bound to one node"):
        make(now, scopes=[Scope.READ], node=node)
