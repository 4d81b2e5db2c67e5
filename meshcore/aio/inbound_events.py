"""Runs the handler of inbound events, each at most once, and acknowledges what it has taken."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from meshcore.aio.relay_session import LinkLost
from meshcore.frames import Inbound
from meshcore.inbox import Admission, Inbox

log = structlog.get_logger(__name__)

AT_ONCE = 64  # handlers; an event beyond it isn't let in: with a buffer id it comes again, a hint may be lost

Handler = Callable[[dict[str, Any]], Any]
"""Gets an event; what it returns is awaited if it can be, and else not looked at."""


class InboundEvents:
    """The events of one node; they outlive a connection, because a handler does."""

    def __init__(self, acknowledge: Callable[[str], Awaitable[None]]) -> None:
        self.handler: Handler | None = None
        self._acknowledge = acknowledge
        self._inbox = Inbox()
        self._in_hand: set[asyncio.Task[None]] = set()

    def take(self, frame: Inbound) -> None:
        """Let an event in, unless a copy of it was; without a handler nothing is let in."""
        if self.handler is None or len(self._in_hand) >= AT_ONCE:
            log.warning("link.event_not_taken", buffer_id=frame.bufferId, in_hand=len(self._in_hand))
        elif frame.bufferId is None:
            self._begin(_run(self.handler, frame.event))
        else:
            match self._inbox.admit(frame.bufferId):
                case Admission.RUN:
                    self._begin(self._settle(self.handler, frame.bufferId, frame.event))
                case Admission.ACKNOWLEDGE:
                    self._begin(self._confirm(frame.bufferId))
                case Admission.WAIT:
                    pass

    async def abandon(self) -> None:
        """Cancel the handlers: what they had in hand may come again."""
        for task in self._in_hand:
            task.cancel()
        if self._in_hand:
            await asyncio.wait(self._in_hand)

    async def _settle(self, handler: Handler, buffer_id: str, event: dict[str, Any]) -> None:
        try:
            await _run(handler, event)
        except BaseException:
            self._inbox.abandoned(buffer_id)
            raise
        self._inbox.retained(buffer_id)
        await self._confirm(buffer_id)

    async def _confirm(self, buffer_id: str) -> None:
        try:
            await self._acknowledge(buffer_id)
        except LinkLost:
            log.info(
                "link.event_not_acknowledged", buffer_id=buffer_id
            )  # it comes again, and is acknowledged then

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._in_hand.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._in_hand.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("link.event_failed", error=repr(error))


async def _run(handler: Handler, event: dict[str, Any]) -> None:
    result = handler(event)
    if inspect.isawaitable(result):
        await result
