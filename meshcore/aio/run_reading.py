"""The provider's side of a run: its stream is read ahead while what came is being stored."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from meshcore.aio.bus_stream import BusStream
from meshcore.bus_wire import error_of
from meshcore.errors import CallError, Code
from meshcore.run_chunks import Chunking
from meshcore.run_events import ChunkEvent

AHEAD_MAX = 1024  # events that wait to be stored; then the provider waits
BATCH_MAX = 32  # chunks in a record; what comes while one is being stored is together in the next

logger = logging.getLogger(__name__)


class Reading:
    """What came of one generation; `news` is set whenever there is more, or the end."""

    def __init__(self, chunking: Chunking, news: asyncio.Event) -> None:
        self.chunking = chunking
        self.error: CallError | None = None
        self.done = False
        self.provider = ""
        self._news = news
        self._events: list[ChunkEvent] = []
        self._room = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many events came and were not taken."""
        return len(self._events)

    @property
    def is_over(self) -> bool:
        """Whether all came that was to come, and nothing is left to take."""
        return self.done and self.error is None and not self._events

    def take(self) -> Sequence[ChunkEvent]:
        """Return the next events, at most `BATCH_MAX`."""
        events, self._events = self._events[:BATCH_MAX], self._events[BATCH_MAX:]
        self._room.set()
        return events

    async def read(self, stream: BusStream) -> None:
        """Read a stream to its end; what it raises is in `error` then."""
        try:
            async with stream:
                await stream.start()
                self.chunking.model, self.provider = stream.model, stream.provider
                while chunks := await stream.read():
                    self._events += self.chunking.take(chunks)
                    self._news.set()
                    await self._have_room()
        except CallError as exc:
            self.error = exc
        except Exception:  # whatever it is: a run whose reader died without a word would wait for ever
            logger.exception("a run's answer can't be read")
            self.error = CallError(Code.INTERNAL_ERROR, "the answer can't be read")
        self._end()

    def whole(self, result: dict[str, Any]) -> None:
        """Take an answer that came whole, or the error in its place."""
        self.error = error_of(result)
        if self.error is None:
            self._events += self.chunking.whole(result)
        self._end()

    def _end(self) -> None:
        self.done = True
        self._news.set()

    async def _have_room(self) -> None:
        while len(self._events) >= AHEAD_MAX:
            self._room.clear()
            await self._room.wait()


async def close(task: "asyncio.Task[None]") -> None:
    """End a task that reads; behind it all that the task held open is closed."""
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
