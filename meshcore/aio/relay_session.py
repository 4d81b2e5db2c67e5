"""One connection of the link, from its hello to its end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from meshcore.clock import Clock
from meshcore.errors import MeshError
from meshcore.frames import (
    Descriptor,
    DescriptorBody,
    FromDashboard,
    GoingIdleAck,
    Health,
    Rewind,
    Telemetry,
    TelemetryAck,
)
from meshcore.link import CloseCode, NodeSide
from meshcore.link_streams import NodeStreams
from meshcore.stream_frames import Stream, StreamEndReason

log = structlog.get_logger(__name__)

T = TypeVar("T")

CLOSE_SECONDS = 1.0  # for a deliberate close; whoever doesn't answer in time is left


class LinkLost(MeshError):
    """The connection is gone; `code` says why, when the dashboard said it.

    `ambiguous`: what was asked for had been written, so it may have been done.
    """

    def __init__(self, message: str, *, code: int | None = None, ambiguous: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.ambiguous = ambiguous


@dataclass(frozen=True, slots=True)
class End:
    """How a connection, or the attempt at one, ended."""

    code: int | None
    reason: str
    up_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class _Pushed:
    """A telemetry frame under way."""

    to: int
    answer: "asyncio.Future[TelemetryAck | Rewind]"


class RelaySession:
    """One connection: `serve` runs it, everything else may be called beside it.

    `on_frame` gets the frames that are nobody's answer, in order: descriptor, desired state, events. `health`
    gives the present, with all breakers, whenever it is due; without it no health is said.
    """

    def __init__(
        self,
        socket: ClientConnection,
        side: NodeSide,
        *,
        on_frame: Callable[[FromDashboard], Awaitable[None]],
        health: Callable[[], Health] | None,
        clock: Clock,
    ) -> None:
        self._socket = socket
        self._side = side
        self._on_frame = on_frame
        self._health = health
        self._clock = clock
        self._begun = clock()
        self._nudge = asyncio.Event()
        self._gone = asyncio.Event()
        self._pushed: list[_Pushed] = []
        self._end: End | None = None
        self._described: asyncio.Future[DescriptorBody] = _quiet_future()
        self._idle: asyncio.Future[None] = _quiet_future()

    async def serve(self) -> End:
        """Run the connection to its end and say how it ended; what was pending has failed by then."""
        pace = asyncio.create_task(self._keep_pace())
        try:
            await self._write()
            await self._read()
        except ConnectionClosed as exc:
            close = exc.rcvd or exc.sent
            reason = close.reason if close else "connection lost"
            self._end = End(close.code if close else None, reason, self._clock() - self._begun)
        finally:
            self._end = self._end or End(None, "disconnected", self._clock() - self._begun)
            self._fail_pending(self._end)
            self._gone.set()
            pace.cancel()
            await asyncio.wait([pace])
        return self._end

    @property
    def is_open(self) -> bool:
        """Return whether the handshake is done and the connection still there."""
        return self._end is None and self._side.descriptor is not None and self._side.closing is None

    async def descriptor(self) -> DescriptorBody:
        """Return the dashboard's answer to hello, once it is there; raises LinkLost."""
        return await asyncio.shield(self._described)

    async def gone(self) -> None:
        """Wait until the connection has ended."""
        await self._gone.wait()

    async def push(self, frame: Telemetry) -> TelemetryAck | Rewind:
        """Send telemetry and return the answer to it.

        Raises LinkLost, and IllegalMove when the window is full.
        """
        self._still_there()
        pushed = _Pushed(frame.to, _quiet_future())
        self._side.send_telemetry(frame)
        self._pushed.append(pushed)
        await self._write_or_lose()
        return await pushed.answer

    async def go_idle(self, timeout_seconds: float) -> bool:
        """Ask to be shown as idle; return whether the dashboard said in time that it does."""
        if not self.is_open:
            return False
        self._side.ask_idle()
        with suppress(TimeoutError, LinkLost):
            async with asyncio.timeout(timeout_seconds):
                await self._write_or_lose()
                await asyncio.shield(self._idle)
                return True
        return False

    async def acknowledge_inbound(self, buffer_id: str) -> None:
        """Say that an event was taken; raises LinkLost."""
        self._still_there()
        self._side.acknowledge_inbound(buffer_id)
        await self._write_or_lose()

    @property
    def streams(self) -> NodeStreams:
        """The credits of the runs that are watched over this connection."""
        return self._side.streams

    async def send_piece(self, piece: Stream) -> None:
        """Send a piece of a watched run; raises LinkLost, and IllegalMove without credit."""
        self._still_there()
        self._side.streams.send(piece)
        await self._write_or_lose()

    async def end_stream(self, stream: str, reason: StreamEndReason) -> None:
        """Say that no more of a watched run comes; raises LinkLost."""
        self._still_there()
        self._side.streams.end(stream, reason)
        await self._write_or_lose()

    def health_changed(self) -> None:
        """Say health as soon as the pace allows."""
        self._side.health_changed()
        self._nudge.set()

    async def close(self, code: CloseCode = CloseCode.NORMAL, reason: str = "") -> None:
        """Close on purpose; `serve` ends. Takes at most `CLOSE_SECONDS`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.close(code, reason)
                await self._socket.wait_closed()

    async def _read(self) -> None:
        while True:
            message = await self._socket.recv(decode=False)
            for frame in self._side.receive_message(message):
                await self._heard(frame)
            await self._close_if_broken()

    async def _heard(self, frame: FromDashboard) -> None:
        match frame:
            case TelemetryAck() | Rewind():
                self._answered(frame)
            case GoingIdleAck():
                _resolve(self._idle, None)
            case Descriptor(descriptor=body):
                await self._on_frame(frame)
                _resolve(self._described, body)
                self._nudge.set()
            case _:
                await self._on_frame(frame)

    def _answered(self, frame: TelemetryAck | Rewind) -> None:
        waiting, self._pushed = self._pushed, []
        for pushed in waiting:
            if isinstance(frame, Rewind) or pushed.to <= frame.to:
                _resolve(pushed.answer, frame)
            else:
                self._pushed.append(pushed)

    async def _keep_pace(self) -> None:
        """Do what time alone asks for: say health, give up a handshake."""
        try:
            while True:
                await self._wait_until(self._side.next_deadline())
                self._side.tick()
                await self._close_if_broken()
                if self._side.health_due():
                    await self._say_health()
        except ConnectionClosed:
            return
        except Exception:  # silence would look like a dead node: better a connection that ends and says why
            log.exception("link.health_failed")
            await self.close(CloseCode.INTERNAL_ERROR, "internal error")

    async def _wait_until(self, deadline: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None if deadline is None else max(deadline - self._clock(), 0)):
                await self._nudge.wait()
        self._nudge.clear()

    async def _say_health(self) -> None:
        if self._health is None:
            await self._nudge.wait()
            return
        self._side.send_health(self._health())
        await self._write()

    async def _close_if_broken(self) -> None:
        closing = self._side.closing
        if closing is not None:
            await self.close(closing.code, closing.reason)

    async def _write(self) -> None:
        for message in self._side.frames_to_send():
            await self._socket.send(message, text=True)

    async def _write_or_lose(self) -> None:
        try:
            await self._write()
        except ConnectionClosed as exc:
            raise LinkLost("connection lost", ambiguous=True) from exc

    def _still_there(self) -> None:
        if self._end is not None:
            raise LinkLost(f"not connected: {self._end.reason}", code=self._end.code)

    def _fail_pending(self, end: End) -> None:
        lost = LinkLost(f"connection lost: {end.reason}", code=end.code, ambiguous=True)
        pending: list[asyncio.Future[Any]] = [pushed.answer for pushed in self._pushed]
        for future in [*pending, self._described, self._idle]:
            if not future.done():
                future.set_exception(lost)
        self._pushed.clear()


def _quiet_future() -> "asyncio.Future[Any]":
    """Return a future whose failure nobody needs to look at."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def _resolve(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():
        future.set_result(result)
