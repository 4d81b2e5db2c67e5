"""Fan-out of live cells: rendered once per page, key and revision in a process, however many look.

    change -> the watched pages it concerns -> round -> revision + 1, owed to each viewer
                                                     -> the first to send renders for all

A page that nobody watches costs nothing: what is kept of it goes with its last viewer. Changes that come
while the last ones have only just been rendered wait for the next round, which begins after `REST` times the
processor time of the rendering: so a page takes up a fixed share of a processor however much changes, and all
its viewers are owed the same at the same time. Figures and ages, which change all the time, wait longer than
news and go with it. When cells can't be rendered, the page is told that it shows old ones until they can, and
they are tried again.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from dashboard import fragments, page_keys
from dashboard.live.viewer import ALL, Owed, Viewer
from dashboard.runtime import Runtime
from meshcore.clock import utcnow

logger = logging.getLogger(__name__)

REST = 3.0  # a page is rendered with a quarter of a processor at most
DULL_REST = 19.0  # and with a twentieth of one while there is no news
WAITED = 1 / 3  # of what a rendering took with all it waited for counts: for half of the time at most
REST_MAX_SECONDS = 2.0  # however long it took: the machine was busy with something else
MAX_SEATS = 2000  # open pages in a process; one more is told to try later
RETRY_SECONDS = 5.0  # between two tries of a page whose cells can't be rendered
MAX_MESSAGE_CHARS = 500_000  # the socket's bound is 1 MiB; beyond this the page fetches its rows instead
KEYS_LOGGED = 5  # of what could not be rendered


class Cells(Protocol):
    """What renders: the module `dashboard.fragments`."""

    def render(self, page: str, keys: Sequence[str], now: datetime) -> Mapping[str, str]:
        """Return the cells of `page` for each of these keys."""

    def render_all(self, page: str, now: datetime) -> str:
        """Return all cells of `page`."""


class Keys(Protocol):
    """What knows what a change concerns: the module `dashboard.page_keys`."""

    def is_news(self, key: str) -> bool:
        """Return whether a change of `key` is to be seen at once."""

    def concerning(self, page: str, keys: Sequence[str]) -> Sequence[str]:
        """Return what is to be rendered on `page` after changes of `keys`."""


class Seat(Protocol):
    """One open page and what it is owed."""

    page: str
    viewer: Viewer

    def wake(self) -> None:
        """Hear that it is owed more."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """Cells, rendered or being rendered together with others."""

    revision: int
    html: asyncio.Task[Mapping[str, str]]


@dataclass(slots=True)
class WatchedPage:
    """A page that somebody looks at; `failed` are the keys whose newest cells could not be rendered."""

    list_keys: frozenset[str]
    seats: set[Seat] = field(default_factory=set)
    revisions: dict[str, int] = field(default_factory=dict)
    renderings: dict[str, Rendering] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    retry: asyncio.TimerHandle | None = None
    pending: dict[str, None] = field(default_factory=dict)  # keys of the next round, in order
    list_changes: int = 0  # of the next round
    news: bool = False  # whether there is some in the next round
    rendering: int = 0  # how many renderings are under way
    round: asyncio.TimerHandle | None = None
    rendered_at: float = 0.0  # on the loop's clock
    cost_seconds: float = 0.0  # of the last rendering

    def rests_until(self, rest: float) -> float:
        """Return when the next round may begin; a dull one rests longer than `rest`, which is for news."""
        factor = rest if self.news else rest * DULL_REST / REST
        return self.rendered_at + min(factor * self.cost_seconds, REST_MAX_SECONDS)

    def changed(self, key: str) -> None:
        """Note a change of what is rendered for `key`, and so for everything."""
        for each in (key, ALL):
            self.revisions[each] = self.revisions.get(each, 0) + 1

    def is_rendered(self, key: str) -> bool:
        """Return whether the newest cells of `key` are there, or are on their way."""
        rendering = self.renderings.get(key)
        return rendering is not None and rendering.revision == self.revisions.get(key, 0)

    def rendered(self, key: str) -> None:
        """Note that the cells of `key` are there; with everything, those of every key."""
        if key == ALL:
            self.failed.clear()
        self.failed.discard(key)


class Full(Exception):
    """All seats are taken."""


class Fanout:
    """The one of a process; lives on the runtime's loop."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        cells: Cells = fragments,
        keys: Keys = page_keys,
        max_seats: int = MAX_SEATS,
        retry_seconds: float = RETRY_SECONDS,
        rest: float = REST,
    ) -> None:
        self.runtime = runtime
        self._cells = cells
        self._keys = keys
        self._max_seats = max_seats
        self._retry_seconds = retry_seconds
        self._rest = rest
        self._pages: dict[str, WatchedPage] = {}
        runtime.on_change("", self._changed)
        runtime.gauges["live_pages"] = lambda: self.seats

    @property
    def seats(self) -> int:
        """How many pages are open."""
        return sum(len(page.seats) for page in self._pages.values())

    def sit(self, seat: Seat) -> None:
        """Begin to note changes for a page; raises Full."""
        if self.seats >= self._max_seats:
            raise Full(f"{self._max_seats} pages are open")
        watched = self._pages.setdefault(seat.page, WatchedPage(page_keys.list_keys_of(seat.page)))
        watched.seats.add(seat)

    def leave(self, seat: Seat) -> None:
        """Forget a page."""
        watched = self._pages.get(seat.page)
        if watched is None:
            return
        watched.seats.discard(seat)
        if not watched.seats:
            if watched.round is not None:
                watched.round.cancel()
            del self._pages[seat.page]

    async def message(self, page: str, no: int, owed: Owed) -> str:
        """Return the text of message `no`: its number and the time, then the cells; "" if nobody watches."""
        watched = self._pages.get(page)
        if watched is None:
            return ""
        cursor = self.runtime.cursor  # before rendering: what comes meanwhile is told by the next message
        cells = "".join(await self._rendered(page, watched, owed.keys))
        list_changes = owed.list_changes
        if len(cells) > MAX_MESSAGE_CHARS:
            logger.warning("%d characters of cells for %s: it fetches its rows instead", len(cells), page)
            cells, list_changes = "", max(list_changes, 1)
        return self._head(no, cursor, list_changes, failed=bool(watched.failed)) + cells

    def _head(self, no: int, cursor: int, list_changes: int, *, failed: bool) -> str:
        return (
            f'<div id="live-no" data-no="{no}" data-at="{utcnow().isoformat()}" data-cursor="{cursor}"'
            f' data-changed="{list_changes}" data-health-seconds="{self.runtime.health_seconds:g}"'
            f'{" data-failed" * failed} hidden hx-swap-oob="true"></div>'
        )

    async def _rendered(self, page: str, watched: WatchedPage, keys: Sequence[str]) -> list[str]:
        """Return the cells of `keys` at their present revisions; what isn't rendered yet is, in one go."""
        missing = [key for key in keys if not watched.is_rendered(key)]
        if missing:
            task = asyncio.create_task(self._render(page, watched, missing))
            for key in missing:
                watched.renderings[key] = Rendering(watched.revisions.get(key, 0), task)
        found = [(key, watched.renderings[key].html) for key in keys]
        # who leaves must not take it from the others
        return [(await asyncio.shield(html)).get(key, "") for key, html in found]

    async def _render(self, page: str, watched: WatchedPage, keys: Sequence[str]) -> Mapping[str, str]:
        begin = asyncio.get_running_loop().time()
        worked_seconds = 0.0
        watched.rendering += 1
        try:
            html, worked_seconds = await self.runtime.in_render(_timed, self._cells_of, page, keys)
        except Exception:
            logger.exception("cells of %s for %s were not rendered", page, ", ".join(keys[:KEYS_LOGGED]))
            watched.failed.update(keys)
            if watched.retry is None:
                retry_in = asyncio.get_running_loop().call_later
                watched.retry = retry_in(self._retry_seconds, _try_again, watched)
            return {}
        finally:
            watched.rendering -= 1
            watched.rendered_at = asyncio.get_running_loop().time()
            watched.cost_seconds = max(worked_seconds, WAITED * (watched.rendered_at - begin))
            if watched.pending or watched.list_changes:
                self._begin_round(watched)
        for key in keys:
            watched.rendered(key)
        return html

    def _cells_of(self, page: str, keys: Sequence[str]) -> Mapping[str, str]:
        if ALL in keys:  # it stands alone: a viewer who is owed everything is owed nothing else
            return {ALL: self._cells.render_all(page, utcnow())}
        return self._cells.render(page, keys, utcnow())

    def _changed(self, ids: Sequence[int], keys: Sequence[str]) -> None:
        for name, watched in self._pages.items():
            concerning = self._keys.concerning(name, keys)
            listed = sum(key in watched.list_keys for key in keys)
            if concerning or listed:
                watched.pending.update(dict.fromkeys(concerning))
                watched.list_changes += listed
                told = (*concerning, *(key for key in keys if key in watched.list_keys))
                watched.news |= any(map(self._keys.is_news, told))
                self._begin_round(watched)

    def _begin_round(self, watched: WatchedPage) -> None:
        """Owe what changed to all viewers: now, or when the page is rendered and has rested."""
        if watched.rendering:
            return
        if watched.round is not None:
            watched.round.cancel()
        loop, begin_at = asyncio.get_running_loop(), watched.rests_until(self._rest)
        if loop.time() >= begin_at:
            _end_round(watched)
        else:
            watched.round = loop.call_at(begin_at, _end_round, watched)


def _timed(
    cells_of: Callable[[str, Sequence[str]], Mapping[str, str]], page: str, keys: Sequence[str]
) -> tuple[Mapping[str, str], float]:
    """Return cells, and the seconds of a processor that they took."""
    begin = time.thread_time()
    html = cells_of(page, keys)
    return html, time.thread_time() - begin


def _end_round(watched: WatchedPage) -> None:
    watched.round = None
    keys, watched.pending = list(watched.pending), {}
    list_changes, watched.list_changes = watched.list_changes, 0
    news, watched.news = watched.news, False
    _owe(watched, keys, list_changes, news=news)


def _owe(watched: WatchedPage, keys: Sequence[str], list_changes: int = 0, *, news: bool = True) -> None:
    for key in keys:
        watched.changed(key)
    for seat in watched.seats:
        seat.viewer.changed(keys, list_changes=list_changes, news=news)
        seat.wake()


def _try_again(watched: WatchedPage) -> None:
    watched.retry = None
    if watched.failed:
        _owe(watched, [ALL])


_fanout: Fanout | None = None


def of(runtime: Runtime) -> Fanout:
    """Return the fan-out of a runtime, made when its first page opens."""
    global _fanout
    if _fanout is None or _fanout.runtime is not runtime:
        _fanout = Fanout(runtime)
    return _fanout
