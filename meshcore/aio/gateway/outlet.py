"""The way out of a client's connection, and how long a client may take nothing of what is written."""

import asyncio
import logging
from contextlib import suppress

CLIENT_SECONDS = 60.0  # a client that takes nothing for so long is hung up on

logger = logging.getLogger(__name__)


class Outlet:
    """Writes to a client, as fast as it takes."""

    __slots__ = ("_room", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._room = asyncio.Event()
        self._room.set()

    def pause(self) -> None:
        """Take the news that too much waits to be taken."""
        self._room.clear()

    def go_on(self) -> None:
        """Take the news that there is room again."""
        self._room.set()

    async def write(self, data: bytes, *, within_seconds: float | None = None) -> None:
        """Write and wait until there is room for more; None: for as long as the client takes anything at all.

        ConnectionResetError when the client is gone or is hung up on.
        """
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)
        if not self._room.is_set():
            await self._have_room(within_seconds)

    def close(self) -> asyncio.TimerHandle:
        """Close behind what was written; the timer returned hangs up on a client that takes too long."""
        self._transport.close()
        return asyncio.get_running_loop().call_later(CLIENT_SECONDS, self._transport.abort)

    async def _have_room(self, within_seconds: float | None) -> None:
        left = self._transport.get_write_buffer_size
        before = left()
        seconds = CLIENT_SECONDS if within_seconds is None else within_seconds
        while not await self._has_room(seconds):
            if within_seconds is not None or left() >= before:
                logger.info("hung up on a client that took nothing for %.0f s", seconds)
                self._transport.abort()
                raise ConnectionResetError("the client took nothing")
            before = left()

    async def _has_room(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._room.wait()
        return self._room.is_set()
