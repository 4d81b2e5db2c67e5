"""Who gives what of a watched run: the links of this process, and the viewers' feeds that they fill.

    a viewer's wish -> the link of a node of the run's log -> pieces -> the viewer's feed

A piece that was read gives its credit back, so a feed never holds more than the credits allow:
`meshcore.link_streams` cuts off a node that sends more.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from dashboard.runtime import Runtime
from meshcore.run_request import LOG_CHARACTERS
from meshcore.stream_frames import Stream, StreamEnd, WatchRun

LOST = "link_lost"  # the reason of an end that nobody sent


class Carrier(Protocol):
    """A node's link, as far as runs are watched over it."""

    log_id: str

    async def watch(self, watch: WatchRun) -> None:
        """Ask the node for a run."""

    async def grant(self, stream: str) -> None:
        """Let the node send one piece more."""

    async def leave(self, stream: str) -> None:
        """Tell the node that nobody watches any more."""


class Feed:
    """What comes of one stream, in order; its end is the last."""

    def __init__(self) -> None:
        self._frames: deque[Stream | StreamEnd] = deque()
        self._news = asyncio.Event()

    def put(self, frame: Stream | StreamEnd) -> None:
        """Take what came."""
        self._frames.append(frame)
        self._news.set()

    async def get(self, seconds: float) -> Stream | StreamEnd | None:
        """Return the next that came, None when nothing does within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while not self._frames:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return None
        return self._frames.popleft()


class Source(Protocol):
    """A stream as whoever shows it reads it."""

    async def get(self, seconds: float) -> Stream | StreamEnd | None:
        """Return what comes next, None when nothing does within `seconds`."""

    async def grant(self) -> None:
        """Say that a piece was passed on."""


class Relay(Protocol):
    """Links of other processes."""

    def watching(
        self, name: str, run_id: str, *, after: int | None, history: bool
    ) -> AbstractAsyncContextManager[Source | None]:
        """Watch a run by the link that another process has to node `name`."""


class LocalSource:
    """A stream over a link of this process."""

    def __init__(self, carrier: Carrier, stream: str, feed: Feed) -> None:
        self._carrier = carrier
        self._stream = stream
        self.get = feed.get

    async def grant(self) -> None:
        """Say that a piece was passed on."""
        await self._carrier.grant(self._stream)


class Broker:
    """The one of a process; lives on the runtime's loop."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.relay: Relay | None = None  # where other processes have links, too
        self._carriers: dict[str, Carrier] = {}
        self._feeds: dict[str, tuple[Carrier, Feed]] = {}
        self._joined = asyncio.Event()
        runtime.gauges["run_streams"] = lambda: len(self._feeds)

    def join(self, name: str, carrier: Carrier) -> None:
        """Note the link of a node."""
        self._carriers[name] = carrier
        self._joined.set()
        self._joined = asyncio.Event()

    def leave(self, name: str, carrier: Carrier) -> None:
        """Forget a link that is gone; what it fed has ended."""
        if self._carriers.get(name) is carrier:
            del self._carriers[name]
        for stream, (of, feed) in self._feeds.items():
            if of is carrier:
                feed.put(StreamEnd(id=stream, reason=LOST))

    def heard(self, frame: Stream | StreamEnd) -> None:
        """Pass on what a node sent."""
        if frame.id in self._feeds:
            self._feeds[frame.id][1].put(frame)

    def here(self, log: str) -> set[str]:
        """Return the nodes of a log, by the beginning of its id, whose link is in this process."""
        return {name for name, carrier in self._carriers.items() if carrier.log_id.startswith(log)}

    async def until_joined(self, seconds: float) -> None:
        """Wait until another node comes, but not longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._joined.wait()
        except TimeoutError:
            return

    @asynccontextmanager
    async def watching(
        self, name: str, run_id: str, *, after: int | None, history: bool
    ) -> AsyncIterator[Source | None]:
        """Watch a run by the link to node `name` while the context lasts; None when it isn't here."""
        carrier = self._carriers.get(name)
        if carrier is None:
            yield None
            return
        stream, feed = uuid.uuid4().hex, Feed()
        self._feeds[stream] = carrier, feed
        try:
            await carrier.watch(WatchRun(stream=stream, run_id=run_id, after=after, history=history))
            yield LocalSource(carrier, stream, feed)
        finally:
            del self._feeds[stream]
            await carrier.leave(stream)


def log_prefix(run_id: str) -> str:
    """Return the beginning of the id of the log that a run stands in."""
    return run_id.removeprefix("run_")[:LOG_CHARACTERS]
