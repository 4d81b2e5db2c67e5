"""Who and what may come in: tokens with their state, nodes with their tokens, people with their groups."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from django.contrib.auth.models import User
from django.db.models import Count, Model, Q

from dashboard.models import Node, Token
from dashboard.selectors import keyset
from dashboard.selectors.keyset import Cursor, Page

T = TypeVar("T")
Row = TypeVar("Row", bound=Model)


class TokenState(enum.StrEnum):
    """Whether a token counts."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTold:
    """A token and what became of it."""

    token: Token
    state: TokenState


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonTold:
    """A person with the names of their groups; `one_time`: they have not chosen a password of their own."""

    user: User
    groups: tuple[str, ...]
    one_time: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Generic[T]):
    """A page of a list, ready to be shown."""

    rows: Sequence[T]
    older: int | None
    newer: int | None


def state_of(token: Token, *, now: datetime) -> TokenState:
    """Return whether a token counts at `now`."""
    if token.revoked_at is not None:
        return TokenState.REVOKED
    expired = token.expires_at is not None and token.expires_at <= now
    return TokenState.EXPIRED if expired else TokenState.ACTIVE


def tokens(*, cursor: Cursor, rows: int, now: datetime) -> Listed[TokenTold]:
    """Return a page of tokens, the newest first; one query."""
    page = keyset.page(Token.objects.select_related("node"), cursor=cursor, rows=rows)
    return _listed(page, [TokenTold(token=each, state=state_of(each, now=now)) for each in page.rows])


def nodes(*, cursor: Cursor, rows: int, now: datetime) -> Listed[Node]:
    """Return a page of nodes, the newest first, each with its `link` and `keys`, its tokens that count.

    One query.
    """
    counts = Q(tokens__revoked_at=None) & (Q(tokens__expires_at=None) | Q(tokens__expires_at__gt=now))
    found = Node.objects.select_related("link").annotate(keys=Count("tokens", filter=counts))
    page = keyset.page(found, cursor=cursor, rows=rows)
    return _listed(page, page.rows)


def people(*, cursor: Cursor, rows: int) -> Listed[PersonTold]:
    """Return a page of people, the newest first; two queries."""
    found = User.objects.select_related("one_time_password").prefetch_related("groups")
    page = keyset.page(found, cursor=cursor, rows=rows)
    return _listed(page, [told(each) for each in page.rows])


def told(user: User) -> PersonTold:
    """Return what is shown of a person."""
    return PersonTold(
        user=user,
        groups=tuple(sorted(group.name for group in user.groups.all())),
        one_time=hasattr(user, "one_time_password"),
    )


def _listed(page: Page[Row], rows: Sequence[T]) -> Listed[T]:
    return Listed(rows=rows, older=page.older, newer=page.newer)
