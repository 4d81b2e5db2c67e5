"""Access tokens: made here, shown once, kept as a hash (drain-and-control §4).

    msh_k3v9x2qa_6Yp…  =  "msh_" + 8 public characters that find the row + "_" + 43 characters, 256 random
    bits

256 bits can't be guessed, so one fast hash is enough. Nobody chooses a secret: there is no way to bring one's
own.
"""

import enum
import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
import string
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import Q

from dashboard.models import Action, ControlHead, Node, Scope, Token
from dashboard.services import audit, changes
from dashboard.services.actor import Actor
from meshcore.clock import utcnow

logger = logging.getLogger(__name__)

START = "msh_"
FORM = re.compile(rf"{START}([a-z0-9]{{8}})_([A-Za-z0-9_-]{{43}})")
SCHEME = "bearer"
PREFIX_ALPHABET = string.ascii_lowercase + string.digits
PREFIX_CHARACTERS = 8
SECRET_BYTES = 32
EXPIRES_SECONDS_MAX = 10 * 365 * 86_400  # ten years; who wants longer gives none
NAME_MAX_CHARACTERS = 100
NO_DIGEST = "0" * 64  # compared with where there is no row, so that both answers take the same time
USE_NOTED_EVERY = timedelta(minutes=1)


class Refusal(enum.StrEnum):
    """Why a token doesn't count; only `UNKNOWN` may be told to a stranger."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    NETWORK = "network"


class TokenRejected(Exception):
    """The token doesn't count; `token` is its row when the secret was right."""

    def __init__(self, kind: Refusal, token: Token | None = None) -> None:
        super().__init__(f"token {kind.value}")
        self.kind = kind
        self.token = token


class TokensUnavailable(Exception):
    """Tokens can't be checked now: answer 503 or 1013, never let anybody in."""


class InvalidToken(ValueError):
    """A token can't be made like this; the message names the value and what is allowed."""


def issue(
    *,
    name: str,
    scopes: Iterable[Scope],
    actor: Actor,
    node: Node | None = None,
    networks: Iterable[str] = (),
    expires_seconds: float | None = None,
    now: datetime | None = None,
) -> tuple[Token, str]:
    """Make a token and return it with its secret, which can't be had again. Raises InvalidToken.

    `node` binds a token of scope nodes:push, and only that, to one node; `networks` limits where it is used
    from.
    """
    now = now or utcnow()
    wanted = _checked_scopes(scopes, node)
    token, secret = _draft(_checked_name(name), wanted, node, _checked_networks(networks), actor, now=now)
    token.expires_at = _expiry(expires_seconds, now)
    with transaction.atomic():
        store(token, head=audit.locked_head(), actor=actor, now=now)
        changes.publish("tokens", "audit", now=now)
    return token, secret


def node_token(*, node: Node, actor: Actor, now: datetime) -> tuple[Token, str]:
    """Return the token with which a node pushes, not stored yet, and its secret."""
    return _draft(node.name, [Scope.NODES_PUSH], node, [], actor, now=now)


def store(token: Token, *, head: ControlHead, actor: Actor, now: datetime) -> None:
    """Save a new token with its audit entry, in the caller's transaction."""
    token.save(force_insert=True)
    audit.record(
        head=head,
        actor=actor,
        action=Action.TOKEN_ISSUE,
        target=_target(token),
        after={
            "name": token.name,
            "scopes": token.scopes,
            "node": token.node.name if token.node else None,
            "networks": token.networks,
            "expires_at": token.expires_at.isoformat() if token.expires_at else None,
        },
        now=now,
    )


def revoke(*, token: Token, actor: Actor, reason: str = "", now: datetime | None = None) -> bool:
    """End a token with its next request, its sockets by the change "tokens"; False: it was revoked before."""
    now = now or utcnow()
    with transaction.atomic():
        head = audit.locked_head()
        won = Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now) == 1
        _record_revoked(token, head=head, actor=actor, reason=reason, now=now)
        changes.publish("tokens", "audit", now=now)
    return won


def revoke_of_node(*, node: Node, head: ControlHead, actor: Actor, reason: str, now: datetime) -> None:
    """End all tokens of a node, each with its audit entry, in the caller's transaction."""
    for token in Token.objects.filter(node=node, revoked_at=None).order_by("pk"):
        token.revoked_at = now
        token.save(update_fields=["revoked_at"])
        _record_revoked(token, head=head, actor=actor, reason=reason, now=now)


def _record_revoked(token: Token, *, head: ControlHead, actor: Actor, reason: str, now: datetime) -> None:
    """Audit that a token is revoked, in the caller's transaction."""
    audit.record(
        head=head, actor=actor, action=Action.TOKEN_REVOKE, target=_target(token), reason=reason, now=now
    )


def secret_in(headers: Sequence[str]) -> str:
    """Return the secret in the Authorization headers of a request.

    "" when there is none of scheme Bearer, or more than one header. It is the only place of a request where
    a token is looked for: addresses are kept in logs and histories.
    """
    scheme, _, secret = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    return secret.strip() if scheme.lower() == SCHEME else ""


def authenticate(secret: str, *, address: str, now: datetime | None = None, noted: bool = True) -> Token:
    """Return the token that `secret` is, used from `address`. Raises TokenRejected or TokensUnavailable.

    Not `noted`, nothing is written: the caller calls `note_uses` when it writes anyway.
    """
    now = now or utcnow()
    form = FORM.fullmatch(secret)
    if form is None:
        raise TokenRejected(Refusal.UNKNOWN)
    try:
        token = Token.objects.select_related("node").filter(prefix=form[1]).first()
    except DatabaseError as exc:
        raise TokensUnavailable("the database doesn't answer") from exc
    if not hmac.compare_digest(token.digest if token else NO_DIGEST, digest_of(secret)) or token is None:
        raise TokenRejected(Refusal.UNKNOWN)
    refusal = refusal_of(token, address=address, now=now)
    if refusal is not None:
        raise TokenRejected(refusal, token)
    if noted:
        _note_use(token, now=now)
    return token


def refusal_of(token: Token, *, address: str, now: datetime) -> Refusal | None:
    """Return why a token whose secret was right doesn't count here and now, or None when it does."""
    if token.revoked_at is not None:
        return Refusal.REVOKED
    if token.expires_at is not None and token.expires_at <= now:
        return Refusal.EXPIRED
    if token.networks and not _is_within(address, token.networks):
        return Refusal.NETWORK
    return None


def digest_of(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _draft(
    name: str, scopes: list[Scope], node: Node | None, networks: list[str], actor: Actor, *, now: datetime
) -> tuple[Token, str]:
    prefix = "".join(secrets.choice(PREFIX_ALPHABET) for _ in range(PREFIX_CHARACTERS))
    secret = f"{START}{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    token = Token(
        name=name,
        prefix=prefix,
        digest=digest_of(secret),
        scopes=[scope.value for scope in scopes],
        node=node,
        networks=networks,
        created_at=now,
        created_by=actor.name,
    )
    return token, secret


def _checked_name(name: str) -> str:
    if not (name.isprintable() and name.strip() and len(name) <= NAME_MAX_CHARACTERS):
        raise InvalidToken(
            f"name={name[:NAME_MAX_CHARACTERS]!r}: expected 1 to {NAME_MAX_CHARACTERS} printable characters"
        )
    return name


def _checked_scopes(scopes: Iterable[Scope], node: Node | None) -> list[Scope]:
    wanted = sorted(set(scopes))
    if not wanted:
        raise InvalidToken(f"no scope: expected some of {', '.join(Scope)}")
    if (wanted == [Scope.NODES_PUSH]) is not (node is not None):
        raise InvalidToken("a token of scope nodes:push is bound to one node and has no other scope")
    return wanted


def _checked_networks(networks: Iterable[str]) -> list[str]:
    try:
        return [str(ipaddress.ip_network(network)) for network in networks]
    except ValueError as exc:
        raise InvalidToken(f"networks: {exc}; expected networks like 10.0.0.0/8 or fd00::/8") from exc


def _expiry(expires_seconds: float | None, now: datetime) -> datetime | None:
    if expires_seconds is None:
        return None
    if not 0 < expires_seconds <= EXPIRES_SECONDS_MAX:
        raise InvalidToken(
            f"expires_seconds={expires_seconds!r}: expected a number above 0, at most {EXPIRES_SECONDS_MAX}"
        )
    return now + timedelta(seconds=expires_seconds)


def _is_within(address: str, networks: list[str]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False  # where it comes from isn't known, so it isn't from there
    return any(found in ipaddress.ip_network(network) for network in networks)


def note_uses(tokens: Collection[int], *, now: datetime) -> None:
    """Note that the tokens with these ids are used, unless that was noted lately; one statement."""
    stale = Q(last_used_at=None) | Q(last_used_at__lte=now - USE_NOTED_EVERY)
    Token.objects.filter(stale, pk__in=tokens).update(last_used_at=now)


def _note_use(token: Token, *, now: datetime) -> None:
    if token.last_used_at is not None and now - token.last_used_at < USE_NOTED_EVERY:
        return
    try:
        note_uses([token.pk], now=now)
    except DatabaseError:  # a full disk must not lock out whoever comes to put it right
        logger.warning("the last use of token %s was not noted", token.prefix, exc_info=True)


def _target(token: Token) -> str:
    return f"token:{token.prefix}"
