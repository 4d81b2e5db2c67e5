"""Messages to open pages: one for all that are owed the same, and one timer for all pages of a process.

    a page is owed something, or says something -> looked at in the next turn of the loop
    the next deadline of any page               -> all are looked at
        owed the same now -> one message -> rendered, and sent to each in turn
        acknowledges nothing -> closed

What a page says is heard by its own consumer. Nothing here waits for a page: `send` of the server takes what
it is given, and a page has no more than one message that it didn't acknowledge.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.live.entry import Close, Wish
from dashboard.live.fanout import Fanout
from dashboard.live.viewer import Owed, Viewer

logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.05  # pages are sent to for so long at a time: then links and requests have their turn
NEVER = float("inf")


@dataclass(eq=False, slots=True)
class Visitor:
    """An open page: what it is owed, and how it is reached. `wake` is called when it is owed more."""

    page: str
    wish: Wish
    viewer: Viewer
    send: Callable[[str], Awaitable[None]]
    close: Callable[[Close], Awaitable[None]]
    delivery: "Delivery"

    def wake(self) -> None:
        """Have it looked at soon."""
        self.delivery.look_at(self)


class Delivery:
    """The one of a process; lives on the runtime's loop."""

    def __init__(self, hall: Fanout) -> None:
        self.hall = hall
        self._loop = asyncio.get_running_loop()
        self._visitors: dict[Visitor, None] = {}
        self._ready: dict[Visitor, None] = {}  # to be looked at in the next turn of the loop, in order
        self._timer: asyncio.TimerHandle | None = None
        self._no = 0  # of the last message of all; each page acknowledges those that it got
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def visitors(self) -> Collection[Visitor]:
        """Who is here now."""
        return self._visitors.keys()

    def enter(self, visitor: Visitor) -> None:
        """Begin to note what a page is owed; `wake` begins to send it. Raises Full."""
        self.hall.sit(visitor)
        self._visitors[visitor] = None

    def leave(self, visitor: Visitor) -> None:
        """Forget a page."""
        self.hall.leave(visitor)
        self._visitors.pop(visitor, None)
        self._ready.pop(visitor, None)

    async def close(self, visitor: Visitor, code: Close) -> None:
        """Close a page's socket, and forget it."""
        if visitor in self._visitors:
            self.leave(visitor)
            await visitor.close(code)

    def look_at(self, visitor: Visitor) -> None:
        """Look soon whether there is something to do for a page."""
        if visitor not in self._visitors:
            return
        if not self._ready:
            self._loop.call_soon(self._look)
        self._ready[visitor] = None

    def _look(self) -> None:
        ready, self._ready = self._ready, {}
        now = self._loop.time()
        next_at = NEVER
        due: dict[tuple[str, Owed], list[Visitor]] = {}
        for visitor in ready:
            deadline = visitor.viewer.next_deadline()
            if deadline > now:
                next_at = min(next_at, deadline)
            elif visitor.viewer.is_waiting:
                self._begin(self.close(visitor, Close.TRY_LATER))
            else:
                due.setdefault((visitor.page, visitor.viewer.owed), []).append(visitor)
        for (page, owed), visitors in due.items():
            next_at = min(next_at, self._send_to(page, owed, visitors))
        self._wake_at(next_at)

    def _send_to(self, page: str, owed: Owed, visitors: Sequence[Visitor]) -> float:
        """Begin to send a message; return when these visitors are to be looked at again."""
        self._no += 1
        for visitor in visitors:
            visitor.viewer.take(self._no)
        self._begin(self._tell(page, self._no, owed, visitors))
        return visitors[0].viewer.next_deadline()

    def _wake_at(self, deadline: float) -> None:
        if self._timer is not None and deadline < self._timer.when():
            self._timer.cancel()
            self._timer = None
        if self._timer is None and deadline < NEVER:
            self._timer = self._loop.call_at(deadline, self._look_at_all)

    def _look_at_all(self) -> None:
        self._timer = None
        self._ready |= self._visitors
        self._look()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, page: str, no: int, owed: Owed, visitors: Sequence[Visitor]) -> None:
        """Send one message to all who are still here, with a pause for others now and then."""
        try:
            text = await self.hall.message(page, no, owed)
        except Exception:
            logger.exception("a message to %d live pages failed", len(visitors))
            for visitor in visitors:
                await self.close(visitor, Close.INTERNAL_ERROR)
            return
        pause_at = self._loop.time() + SLICE_SECONDS
        for visitor in visitors:
            if visitor in self._visitors:
                await self._send(visitor, text)
            if self._loop.time() >= pause_at:
                await asyncio.sleep(0)
                pause_at = self._loop.time() + SLICE_SECONDS

    async def _send(self, visitor: Visitor, text: str) -> None:
        try:
            await visitor.send(text)
        except Exception:
            logger.exception("a live page failed")
            await self.close(visitor, Close.INTERNAL_ERROR)
