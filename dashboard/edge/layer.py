"""Watching runs over links that other processes have, by way of the channel layer.

    the viewer's process   ask{node, run, …} to all     granted{total} …            end, when its viewer left
    the link's process                 frame{…} … as far as granted      alive{sent}

The layer may lose messages, and processes die. So grants are totals, which are said again every
`HOLD_SECONDS` as a sign of life and answered by how many frames were sent; who finds that one is missing, or
hears nothing for `GONE_SECONDS`, begins again behind the last piece that it has.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from dashboard.edge.broker import LOST, Broker, Feed, Source, log_prefix
from meshcore.clock import Clock, monotonic
from meshcore.stream_frames import STREAM_CREDIT, Stream, StreamEnd, StreamEndReason

logger = logging.getLogger(__name__)

GROUP = "meshboard.watching"
HOLD_SECONDS = 5.0
GONE_SECONDS = 15.0
RETRY_SECONDS = 1.0  # between two tries to hear others
RENEW_SECONDS = 3600.0  # a layer forgets a member of a group after a day
HELD_MAX = 256  # viewers in other processes; one more is told so

Message = dict[str, Any]
_FRAMES: msgspec.json.Decoder[Stream | StreamEnd] = msgspec.json.Decoder(Stream | StreamEnd)


class RemoteSource:
    """A stream over a link of another process."""

    def __init__(self, stream: str, *, say: Callable[[str, Message], Any], clock: Clock) -> None:
        self.stream = stream
        self.holder = ""  # the channel of the process that has the link
        self._say = say
        self._clock = clock
        self._heard_at = clock()
        self._received = 0
        self._granted = STREAM_CREDIT
        self._feed = Feed()

    def heard(self, message: Message) -> None:
        """Take what the holder says."""
        self._heard_at = self._clock()
        self.holder = message["from"]
        if message["type"] == "watch.frame":
            self._received += 1
            self._feed.put(_FRAMES.decode(message["frame"]))
        elif message["sent"] != self._received:
            self._feed.put(StreamEnd(id=self.stream, reason=LOST))

    async def get(self, seconds: float) -> Stream | StreamEnd | None:
        """Return what comes next, None when nothing does within `seconds`."""
        frame = await self._feed.get(seconds)
        if frame is None and self._clock() >= self._heard_at + GONE_SECONDS:
            return StreamEnd(id=self.stream, reason=LOST)
        return frame

    async def grant(self) -> None:
        """Say that a piece was passed on."""
        self._granted += 1
        await self.hold()

    async def hold(self) -> None:
        """Say how much was granted in all, and so that somebody still watches."""
        if self.holder:
            await self._say(self.holder, {"type": "watch.granted", "total": self._granted})


class _Held:
    """A stream over our link for a viewer of another process."""

    def __init__(self, asker: str, *, clock: Clock) -> None:
        self.asker = asker
        self.sent = 0
        self.task: asyncio.Task[None] | None = None
        self._clock = clock
        self._heard_at = clock()
        self._granted = STREAM_CREDIT
        self._room = asyncio.Event()

    def granted(self, total: int) -> None:
        """Take how much was granted in all."""
        self._heard_at = self._clock()
        self._granted = max(self._granted, total)
        self._room.set()

    def is_gone(self) -> bool:
        """Return whether nothing was heard of the viewer's process for too long."""
        return self._clock() >= self._heard_at + GONE_SECONDS

    async def until_granted(self) -> None:
        """Wait until one frame more may be sent."""
        while self.sent >= self._granted:
            self._room.clear()
            await self._room.wait()


class Layer:
    """The one of a process that shares its work with others; `run` it as long as the process lives."""

    def __init__(self, broker: Broker, layer: Any, *, clock: Clock = monotonic) -> None:
        self._broker = broker
        self._layer = layer
        self._clock = clock
        self._channel = ""
        self._asked: dict[str, RemoteSource] = {}
        self._held: dict[str, _Held] = {}
        broker.runtime.gauges["run_streams_for_others"] = lambda: len(self._held)

    async def run(self) -> None:
        """Hear the other processes, until cancelled."""
        holding = asyncio.create_task(self._keep_holding())
        try:
            while True:
                try:
                    await self._hear()
                except Exception as exc:
                    logger.error("nothing is heard of runs from other processes: %r", exc)
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            tasks = [holding, *(held.task for held in self._held.values() if held.task)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def watching(
        self, name: str, run_id: str, *, after: int | None, history: bool
    ) -> AsyncIterator[Source | None]:
        """Watch a run by the link that another process has to node `name`; None while nobody is heard."""
        if not self._channel:
            yield None
            return
        stream = uuid.uuid4().hex
        source = RemoteSource(stream, say=self._saying(stream), clock=self._clock)
        self._asked[stream] = source
        wish = {"node": name, "run_id": run_id, "after": after, "history": history}
        try:
            await self._say(GROUP, {"type": "watch.ask", "stream": stream, **wish})
            yield source
        finally:
            del self._asked[stream]
            await self._say(source.holder or GROUP, {"type": "watch.end", "stream": stream})

    async def _hear(self) -> None:
        self._channel = channel = await self._layer.new_channel()
        try:
            while True:
                await self._layer.group_add(GROUP, channel)
                with suppress(TimeoutError):
                    async with asyncio.timeout(RENEW_SECONDS):
                        await self._take_all(channel)
        finally:
            self._channel = ""
            await self._layer.group_discard(GROUP, channel)

    async def _take_all(self, channel: str) -> None:
        while True:
            message = await self._layer.receive(channel)
            try:
                self._take(message)
            except (KeyError, TypeError, msgspec.MsgspecError) as exc:  # of a process of another version
                logger.warning("a message about a run can't be read: %r", exc)

    def _take(self, message: Message) -> None:
        kind, stream = message["type"], message["stream"]
        if kind == "watch.ask" and message["from"] != self._channel:
            self._give(stream, message)
        elif kind in ("watch.frame", "watch.alive") and stream in self._asked:
            self._asked[stream].heard(message)
        elif kind == "watch.granted" and stream in self._held:
            self._held[stream].granted(message["total"])
        elif kind == "watch.end" and stream in self._held:
            task = self._held[stream].task
            if task is not None:
                task.cancel()

    def _give(self, stream: str, ask: Message) -> None:
        """Give a run to another process, if the link is here that it asks for."""
        if ask["node"] not in self._broker.here(log_prefix(ask["run_id"])):
            return
        held = self._held[stream] = _Held(ask["from"], clock=self._clock)
        held.task = asyncio.create_task(self._send_all(stream, held, ask))
        held.task.add_done_callback(lambda _: self._held.pop(stream, None))

    async def _send_all(self, stream: str, held: _Held, ask: Message) -> None:
        if len(self._held) > HELD_MAX:
            await self._frame(stream, held, StreamEnd(id=stream, reason=StreamEndReason.TOO_MANY))
            return
        watching = self._broker.watching(
            ask["node"], ask["run_id"], after=ask["after"], history=ask["history"]
        )
        async with watching as source:
            frame: Stream | StreamEnd | None = None
            while source is not None and not isinstance(frame, StreamEnd):
                frame = await source.get(HOLD_SECONDS)
                if frame is not None:
                    await held.until_granted()
                    await self._frame(stream, held, frame)
                if isinstance(frame, Stream):
                    await source.grant()

    async def _frame(self, stream: str, held: _Held, frame: Stream | StreamEnd) -> None:
        held.sent += 1
        data = msgspec.json.encode(frame)
        await self._say(held.asker, {"type": "watch.frame", "stream": stream, "frame": data})

    async def _keep_holding(self) -> None:
        """Say every now and then that we are there, and let go of who isn't."""
        while True:
            await asyncio.sleep(HOLD_SECONDS)
            for source in tuple(self._asked.values()):
                await source.hold()
            for stream, held in tuple(self._held.items()):
                await self._say(held.asker, {"type": "watch.alive", "stream": stream, "sent": held.sent})
                if held.is_gone() and held.task is not None:
                    held.task.cancel()

    def _saying(self, stream: str) -> Callable[[str, Message], Any]:
        return lambda channel, message: self._say(channel, {**message, "stream": stream})

    async def _say(self, channel: str, message: Message) -> None:
        """Send a message; one that gets lost is found out by who waits for it."""
        send = self._layer.group_send if channel == GROUP else self._layer.send
        try:
            await send(channel, {**message, "from": self._channel})
        except Exception as exc:
            logger.warning("nothing is said of runs to other processes: %r", exc)
