"""Who may watch a page: from our own pages only, signed in, with the right to see it."""

import enum
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from dashboard.models import Node, Run
from dashboard.page_keys import FLEET, NODE_PAGE, RUN_PAGE, fleet_number, list_keys_of
from dashboard.selectors import changes, sessions
from dashboard.services.rights import Right, user_rights

RIGHTS = {
    **dict.fromkeys(("fleet", "providers", "traces", "runs", "drains"), Right.READ),
    "audit": Right.AUDIT_READ,
}


class Close(enum.IntEnum):
    """Why a page's socket is closed; live.js knows them."""

    INTERNAL_ERROR = 1011
    TRY_LATER = 1013
    BAD_MESSAGE = 4400
    SIGNED_OUT = 4401
    UNKNOWN_PAGE = 4404


@dataclass(frozen=True, slots=True)
class Wish:
    """What a browser asks for: a page, by whom, and the last change it has seen (None: it doesn't say)."""

    page: str
    session_key: str
    since: int | None

    @classmethod
    def of(cls, scope: dict[str, Any]) -> "Wish":
        """Return the wish of an ASGI websocket scope."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        since = query.get("since", [""])[0]
        return cls(
            page=query.get("page", [""])[0],
            session_key=sessions.key_of(scope),
            since=int(since) if since.isascii() and since.isdigit() and len(since) < 19 else None,
        )


def comes_from_us(scope: dict[str, Any]) -> bool:
    """Return whether a page of ours opened the socket: browsers send our cookies from foreign pages too."""
    origin = _header(scope, b"origin")
    if origin == settings.MESH_URL.origin:
        return True
    host = _header(scope, b"host")
    parts = urlsplit(origin)
    same = parts.scheme in ("http", "https") and parts.netloc == host
    return same and validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS)


def refusal(wish: Wish) -> Close | None:
    """Return why the page may not be watched, or None if it may; reads the database."""
    user = sessions.user_of(wish.session_key)
    rights = user_rights(user)
    if Right.READ not in rights:
        return Close.SIGNED_OUT
    if wish.page.startswith(NODE_PAGE):
        there = Node.objects.filter(name=wish.page.removeprefix(NODE_PAGE)).exists()
        return None if there else Close.UNKNOWN_PAGE
    if wish.page.startswith(RUN_PAGE):
        there = Run.objects.filter(run_id=wish.page.removeprefix(RUN_PAGE)).exists()
        return None if there else Close.UNKNOWN_PAGE
    needed = RIGHTS.get(FLEET if fleet_number(wish.page) else wish.page)
    return None if needed in rights else Close.UNKNOWN_PAGE


def missed_list_changes(wish: Wish) -> int:
    """Return how many changes of its list the page missed since it was rendered; reads the database."""
    return 0 if wish.since is None else changes.missed(wish.since, list_keys_of(wish.page))


def _header(scope: dict[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1").lower() for key, value in scope["headers"] if key == name), "")
