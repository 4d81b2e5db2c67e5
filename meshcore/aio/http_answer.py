"""An answer of an HTTP server on its way from its connection to its reader.

It belongs to one task, which reads and then releases it.
"""

import asyncio
from typing import Protocol

from meshcore.aio.http_fields import Headers
from meshcore.aio.http_terms import HttpError, TooLarge

AHEAD_MAX_BYTES = 64 << 10  # of a body that nobody has read yet; then its server has to wait


class Source(Protocol):
    """The connection that an answer comes by."""

    def read_on(self) -> None:
        """Let more come, if it was told to wait."""

    def release(self, *, is_whole: bool) -> None:
        """End the exchange."""

    def release_later(self, seconds: float) -> None:
        """End the exchange when its answer ends, which nobody reads, or when that takes too long."""


class HttpAnswer:
    """An answer whose head came."""

    __slots__ = ("_ended", "_error", "_pieces", "_size", "_source", "_waiter", "headers", "status")

    def __init__(self, source: Source) -> None:
        self.status = 0
        self.headers = Headers({})
        self._source: Source | None = source
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False
        self._error: HttpError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_whole(self) -> bool:
        """Return whether all of the body came."""
        return self._ended

    @property
    def at_end(self) -> bool:
        """Return whether the whole body was read."""
        return self._ended and not self._pieces

    async def read_any(self) -> bytes:
        """Return what came of the body since the last time, b"" at its end; raises HttpError."""
        while not self._pieces:
            if self._ended:
                return b""
            if self._error is not None:
                raise self._error
            await self._news()
        return self.read_now()

    def read_now(self) -> bytes:
        """Return what came of the body since the last time, b"" when that is nothing."""
        if not self._pieces:
            return b""
        pieces, self._pieces, self._size = self._pieces, [], 0
        if self._source is not None:
            self._source.read_on()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body; raises HttpError, TooLarge when it has more than `max_bytes`."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read_any():
            size += len(piece)
            if size > max_bytes:
                raise TooLarge
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def release(self, *, rest_within_seconds: float = 0.0) -> None:
        """Give the connection back; again does nothing.

        It is closed when the body's end wasn't reached, unless that comes within `rest_within_seconds`.
        """
        source, self._source = self._source, None
        if source is None:
            return
        if self._ended or self._error is not None or not rest_within_seconds:
            source.release(is_whole=self._ended)
        else:
            source.release_later(rest_within_seconds)

    # What the connection calls

    async def head(self) -> None:
        """Return when the head came; raises HttpError."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._news()

    def begin(self, status: int, headers: Headers) -> None:
        """Take the head."""
        self.status, self.headers = status, headers
        self._wake()

    def feed(self, pieces: list[bytes]) -> bool:
        """Take the next bytes of the body; return whether too much waits to be read."""
        self._pieces += pieces
        self._size += sum(map(len, pieces))
        self._wake()
        return self._size > AHEAD_MAX_BYTES

    def end(self) -> None:
        """Take the end of the body."""
        self._ended = True
        self._wake()

    def fail(self, error: HttpError) -> None:
        """Take the news that there will be no end."""
        self._error = error
        self._wake()

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
