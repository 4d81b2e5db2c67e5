"""Streams to clients: a run as it is answered, by tokens and for the Run page.

    GET /api/v1/runs/{id}/stream   with a token        GET /runs/{id}/stream   with the page's session

Plain ASGI, as Django's views gather what they answer. The events are those of a node's `attach` (runs.md).
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from django.db import Error as DatabaseError

from dashboard import runtime
from dashboard.edge import brokerage, entrance
from dashboard.edge.broker import log_prefix
from dashboard.edge.entrance import RETRY, Judge, Refusal, Scope, position_of
from dashboard.edge.event_stream import COMMENT_SECONDS, Full, Places, respond
from dashboard.edge.viewing import Viewing, Word
from dashboard.models import Node, Run
from dashboard.runtime import LaneFull, Runtime
from dashboard.services.outbox import RUN_ID
from meshcore.clock import monotonic
from meshcore.run_view import COMMENT, sse
from meshcore.stream_frames import Stream

VIEWERS_MAX = 256  # of runs, in this process
OPEN_SECONDS = 6.0  # for a node to say whether there is such a run
WAITING = {
    Word.WAITING: b": waiting for a node of this log\n\n",
    Word.BUSY: b": waiting: its nodes send as many runs as they may\n\n",
}
_PATH = re.compile(r"(?P<api>/api/v1)?/runs/(?P<run>[^/]{1,200})/stream", re.ASCII)
_places = Places(VIEWERS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What of which run is asked for."""

    run_id: str
    after: int | None
    history: bool
    judge: Judge
    route: str


def is_run_stream(path: str) -> bool:
    """Return whether `run_stream` answers a path."""
    return _PATH.fullmatch(path) is not None


async def run_stream(scope: Scope, receive: Any, send: Any) -> None:
    """Answer with a run's events, or with why not."""
    running = runtime.current()
    try:
        wish = _wish(scope)
        may = await entrance.admitted(running, wish.judge, scope, route=wish.route)
        with _places:
            await _watch(running, wish, may, scope, receive, send)
    except Full as exc:
        await entrance.refuse(scope, send, Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(exc), RETRY))
    except Refusal as exc:
        await entrance.refuse(scope, send, exc)


def _wish(scope: Scope) -> Wish:
    """Return what is asked for; raises Refusal."""
    if scope["method"] != "GET":
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET.", ((b"allow", b"GET"),))
    found = _PATH.fullmatch(scope["path"])
    assert found is not None  # noqa: S101 - `is_run_stream` said so
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return Wish(
        run_id=found["run"],
        after=position_of(scope, query, "history"),
        history=_history(query),
        judge=entrance.by_token if found["api"] else entrance.by_session,
        route="GET api/v1/runs/<run>/stream" if found["api"] else "GET runs/<run>/stream",
    )


def _history(query: dict[str, list[str]]) -> bool:
    history = query.get("history", [""])[-1]
    if history not in ("", "all"):
        said = f"history is {history[:80]!r}; expected all."
        raise Refusal(HTTPStatus.BAD_REQUEST, said, field="history")
    return history == "all"


async def _watch(
    running: Runtime, wish: Wish, may: frozenset[Any], scope: Scope, receive: Any, send: Any
) -> None:
    """Find the run, then show it. Raises Refusal."""
    if not RUN_ID.fullmatch(wish.run_id):
        raise _unknown(wish.run_id)
    viewing = Viewing(brokerage.of(running), wish.run_id, after=wish.after, history=wish.history)
    async with aclosing(viewing.words()) as words:
        first = await _first(running, wish.run_id, words)
        watching = entrance.until_unwelcome(running, wish.judge, scope, may)
        await respond(send, receive, _events(first, words), until=watching)


async def _first(running: Runtime, run_id: str, words: AsyncGenerator[Stream | Word, None]) -> Stream | Word:
    """Return a run's first piece, or WAITING when it is known and its log isn't there. Raises Refusal."""
    give_up_at = monotonic() + OPEN_SECONDS
    known: bool | None = None
    async for word in words:
        if word is Word.UNKNOWN:
            raise _unknown(run_id)
        if word is Word.BUSY:
            said = f"The nodes of the run log {log_prefix(run_id)} send as many runs as they may; try again."
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, said, RETRY)
        if isinstance(word, Stream):
            return word
        if known is None:
            known, may_be = await _looked_up(running, run_id)
            if not known and not may_be:
                raise _unknown(run_id)
        if known or monotonic() >= give_up_at:
            break
    if not known:
        said = f"No node of the run log {log_prefix(run_id)} can be asked now."
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, said, RETRY)
    return Word.WAITING


async def _looked_up(running: Runtime, run_id: str) -> tuple[bool, bool]:
    """Return what `_known` does; raises Refusal when the database doesn't answer."""
    try:
        return await running.in_render(_known, run_id)
    except (DatabaseError, LaneFull) as exc:
        said = "Whether there is such a run can't be looked up now; try again."
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, said, RETRY) from exc


def _known(run_id: str) -> tuple[bool, bool]:
    """Return whether there is a row of a run, and whether there may be a run without; reads the database."""
    of_log = Node.objects.filter(log_id__startswith=log_prefix(run_id))
    return Run.objects.filter(run_id=run_id).exists(), of_log.exists()


async def _events(
    first: Stream | Word, words: AsyncGenerator[Stream | Word, None]
) -> AsyncGenerator[bytes, None]:
    """Yield a run's events, and comments while there are none."""
    word, said_at, before = first, monotonic(), None
    while True:
        data = b"".join(map(sse, word.events)) if isinstance(word, Stream) else b""
        is_due = monotonic() >= said_at + COMMENT_SECONDS
        if not data and (is_due or (word in WAITING and word != before)):
            data = COMMENT if isinstance(word, Stream) else WAITING.get(word, COMMENT)
        if data:
            said_at = monotonic()
            yield data
        before = word if isinstance(word, Word) else None
        try:
            word = await anext(words)
        except StopAsyncIteration:
            return
        if word is Word.UNKNOWN:
            return


def _unknown(run_id: str) -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, f"There is no run {run_id[:100]!r}.")
