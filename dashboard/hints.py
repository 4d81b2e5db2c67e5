"""Hints: "something was committed, look now".

A hint carries no state: the change feed in the database is the truth and is read once a second anyway
(decision D5), so a hint that is lost costs a second and nothing else: that holds for one, and for hours in
which the channel layer is away. `wake` may be called from any thread, after commit; in a process without a
runtime, such as a management command, it does nothing.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

GROUP = "meshboard.changes"
RENEW_SECONDS = 3600.0  # a layer forgets a member of a group after a day
RETRY_SECONDS = 1.0  # between two tries to hear others; as often as the change feed is read anyway


@dataclass(frozen=True, slots=True)
class _Listener:
    loop: asyncio.AbstractEventLoop
    on_hint: Callable[[], None]


_listener: _Listener | None = None


def listen(on_hint: Callable[[], None]) -> Callable[[], None]:
    """Call `on_hint` on the running loop whenever this process commits something; returns what ends it."""
    global _listener
    mine = _listener = _Listener(asyncio.get_running_loop(), on_hint)

    def stop() -> None:
        global _listener
        if _listener is mine:
            _listener = None

    return stop


def wake(*keys: str) -> None:
    """Say that something was committed; `keys` are for the log alone."""
    listener = _listener
    if listener is None:
        return
    logger.debug("hint for %s", keys)
    try:
        listener.loop.call_soon_threadsafe(listener.on_hint)
    except RuntimeError:
        logger.debug("the loop is closed: nobody is left to hear the hint")


class Relay:
    """Carries hints between processes over the channel layer; says once that it can't, and when it can."""

    def __init__(
        self,
        layer: Any,
        on_hint: Callable[[], None],
        *,
        renew_seconds: float = RENEW_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._layer = layer
        self._on_hint = on_hint
        self._renew_seconds = renew_seconds
        self._retry_seconds = retry_seconds
        self._sender = uuid.uuid4().hex
        self._cut_off = False

    async def announce(self) -> None:
        """Tell the other processes; where the layer doesn't answer they find out by themselves."""
        await self._carried(self._layer.group_send(GROUP, {"type": "changes.hint", "sender": self._sender}))

    async def run(self) -> None:
        """Hear the other processes, until cancelled."""
        while True:
            if not await self._carried(self._hear()):
                await asyncio.sleep(self._retry_seconds)

    async def _hear(self) -> None:
        """Pass hints on until the membership wants renewal, under a new name: some layers forget the old."""
        channel = await self._layer.new_channel()
        try:
            await self._layer.group_add(GROUP, channel)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._renew_seconds):
                    await self._pass_on(channel)
        finally:
            await self._layer.group_discard(GROUP, channel)

    async def _pass_on(self, channel: str) -> None:
        while True:
            message = await self._layer.receive(channel)
            if message.get("sender") != self._sender:
                self._on_hint()

    async def _carried(self, step: Awaitable[None]) -> bool:
        """Return whether the layer did what it was asked; any error means that it is away."""
        try:
            await step
        except Exception as exc:
            if not self._cut_off:
                logger.error("no hints from and to other processes: %s: %s", type(exc).__name__, exc)
            self._cut_off = True
            return False
        if self._cut_off:
            logger.info("hints from and to other processes again")
        self._cut_off = False
        return True
