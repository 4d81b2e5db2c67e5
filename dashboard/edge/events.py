"""`GET /api/v1/events`: the change feed for programs, as server-sent events.

    id: <id>   event: change   data: {"type": "change", "key": "node:node-a"}
    id: <id>   event: resync   data: {"type": "resync"}      what was missed isn't kept: read everything again

A key says what to read again, never what is there. What time alone has changed, such as a node that fell
silent, is in no feed: it comes once, without an id.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import msgspec
from django.db import Error as DatabaseError

from dashboard import runtime
from dashboard.edge import entrance
from dashboard.edge.entrance import RETRY, Refusal, Scope, by_token, position_of
from dashboard.edge.event_stream import COMMENT_SECONDS, Full, Places, respond
from dashboard.runtime import READ_ROWS, LaneFull, Runtime
from dashboard.selectors import changes
from dashboard.services.rights import Right
from meshcore.run_view import COMMENT

FOLLOWERS_MAX = 256  # in this process
QUEUED_MAX = 1000  # changes that wait for one follower; beyond it reads the feed again from where it was
ROUTE = "GET api/v1/events"
RIGHTS = {"audit": Right.AUDIT_READ, "tokens": Right.ADMIN, "people": Right.ADMIN}
READABLE = frozenset({"nodes", "providers", "traces", "drains", "overrides", "runs"})
READABLE_KINDS = ("node:", "figures:", "providers:", "transitions:", "run:", "runs:")
_places = Places(FOLLOWERS_MAX)

Row = tuple[int, str]


async def events(scope: Scope, receive: Any, send: Any) -> None:
    """Answer with changes as they come, or with why not."""
    running = runtime.current()
    try:
        if scope["method"] != "GET":
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET.", ((b"allow", b"GET"),))
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        since = position_of(scope, query)
        may = await entrance.admitted(running, by_token, scope, route=ROUTE)
        with _places:
            until = entrance.until_unwelcome(running, by_token, scope, may)
            await respond(send, receive, Follower(running, since, may).events(), until=until)
    except Full as exc:
        await entrance.refuse(scope, send, Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(exc), RETRY))
    except Refusal as exc:
        await entrance.refuse(scope, send, exc)


def may_read(key: str, may: frozenset[Right]) -> bool:
    """Return whether somebody with the rights `may` hears of a key; of one that isn't known nobody does."""
    if key in READABLE or key.startswith(READABLE_KINDS):
        return Right.READ in may
    return key in RIGHTS and RIGHTS[key] in may


class Follower:
    """One who follows the feed, behind the change `since`; None: from now on."""

    def __init__(self, running: Runtime, since: int | None, may: frozenset[Right]) -> None:
        self._runtime = running
        self._since = since
        self._may = may
        self._last = running.cursor if since is None else since
        self._behind = True  # whether there is something to read in the feed
        self._queue: deque[Row] = deque()
        self._news = asyncio.Event()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield events, and comments while there are none; ends when the feed can't be read."""
        unsubscribe = self._runtime.on_change("", self._changed)
        try:
            if self._since is not None and not await self._runtime.in_render(changes.is_kept, self._since):
                self._last = self._runtime.cursor
                yield _event(self._last, "resync")
            while True:
                async for rows in self._rows():
                    if told := b"".join(_event(id_, "change", key) for id_, key in self._readable(rows)):
                        yield told
                if not await self._woken():
                    yield COMMENT
        except (DatabaseError, LaneFull):
            return  # the client comes again, for what lies behind what it has
        finally:
            unsubscribe()

    async def _rows(self) -> AsyncGenerator[Sequence[Row], None]:
        """Yield what is new: from the feed, when the queue has lost something, else from the queue."""
        while self._behind:
            rows = await self._runtime.in_render(changes.after, self._last, limit=READ_ROWS)
            self._behind = len(rows) == READ_ROWS
            self._last = rows[-1][0] if rows else self._last
            yield rows
        waiting, self._queue = self._queue, deque()
        news = [(id_, key) for id_, key in waiting if id_ == 0 or id_ > self._last]
        self._last = max([self._last, *(id_ for id_, _ in news)])
        yield news

    def _changed(self, ids: Sequence[int], keys: Sequence[str]) -> None:
        self._queue.extend(zip(ids, keys, strict=True))
        if len(self._queue) > QUEUED_MAX:
            self._queue.clear()
            self._behind = True
        self._news.set()

    async def _woken(self) -> bool:
        """Wait for something new; return False when nothing came for a while."""
        try:
            async with asyncio.timeout(COMMENT_SECONDS):
                while not self._queue and not self._behind:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _readable(self, rows: Sequence[Row]) -> Sequence[Row]:
        return [(id_, key) for id_, key in rows if may_read(key, self._may)]


def _event(id_: int, kind: str, key: str = "") -> bytes:
    data = msgspec.json.encode({"type": kind, **({"key": key} if key else {})})
    name = b"id: %d\n" % id_ if id_ else b""
    return name + b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
