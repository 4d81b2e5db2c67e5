"""A dashboard on a real socket, as far as a node can see one: for tests of what talks to it.

It keeps the rules of the link (`meshcore.link.DashboardSide`) and a mark that commits each telemetry item
once. How it misbehaves is set on it at any time.
"""

from types import TracebackType
from typing import Any, Self

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from meshcore.clock import monotonic
from meshcore.frames import (
    DescriptorBody,
    Desired,
    FromNode,
    GoingIdle,
    Hello,
    Inbound,
    Limits,
    Peers,
    Refused,
    Telemetry,
)
from meshcore.link import CloseCode, DashboardSide, LinkPolicy
from meshcore.stream_frames import WatchRun


class FakeDashboard:
    """See the module; `async with` it, then read what came and set what shall happen."""

    def __init__(self) -> None:
        self.heard: list[FromNode] = []  # in order, over all connections
        self.connections = 0
        self.authorizations: list[str] = []
        self.items: list[dict[str, Any]] = []  # committed
        self.dropped: dict[str, int] = {}
        self.hwm = 0
        self.desired: Desired | None = None  # part of the descriptor
        self.limits = Limits(health_seconds=0.05)
        self.spool_reset = False
        self.resume_after_seconds = 0.0
        self.mute = False  # never answers hello
        self.mute_idle = False  # never answers going_idle
        self.silent_on_telemetry = False  # never acknowledges
        self.rewinds = 0  # so many of the next telemetry frames are not committed
        self.refused_items: tuple[Refused, ...] = ()  # said with every acknowledgement
        self.closes_with: CloseCode | None = None  # right after hello, instead of an answer
        self._server: Server | None = None
        self._current: tuple[ServerConnection, DashboardSide] | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(self._serve, "127.0.0.1", 0, close_timeout=1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Return where nodes connect."""
        if self._server is None:
            raise RuntimeError("not listening: `async with` it first")
        port = next(iter(self._server.sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{port}/link/v1"

    def all_of(self, kind: type[Any]) -> list[Any]:
        """Return the frames of one kind that came."""
        return [frame for frame in self.heard if isinstance(frame, kind)]

    async def say(self, frame: Inbound | Desired | Peers) -> None:
        """Send a frame on the present connection."""
        socket, side = self._present()
        match frame:
            case Inbound():
                side.send_inbound(frame)
            case Desired():
                side.send_desired(frame)
            case Peers():
                side.send_peers(frame)
        await _write(socket, side)

    async def watch(self, watch: WatchRun) -> None:
        """Ask for a run on the present connection."""
        socket, side = self._present()
        side.streams.watch(watch)
        await _write(socket, side)

    async def grant(self, stream: str, n: int = 1) -> None:
        """Let more pieces of a run come."""
        socket, side = self._present()
        side.streams.grant(stream, n)
        await _write(socket, side)

    async def end_stream(self, stream: str) -> None:
        """Say that nobody watches any more."""
        socket, side = self._present()
        side.streams.end(stream)
        await _write(socket, side)

    async def close(self, code: CloseCode) -> None:
        """Close the present connection."""
        await self._present()[0].close(code)

    async def cut(self) -> None:
        """Let the present connection break without a word, as a killed process does."""
        self._present()[0].transport.abort()

    def _present(self) -> tuple[ServerConnection, DashboardSide]:
        if self._current is None:
            raise RuntimeError("no node is connected")
        return self._current

    async def _serve(self, socket: ServerConnection) -> None:
        side = DashboardSide(clock=monotonic, policy=LinkPolicy())
        self._current = socket, side
        self.authorizations.append(socket.request.headers.get("Authorization", "") if socket.request else "")
        self.connections += 1
        try:
            async for message in socket:
                for frame in side.receive_message(message):
                    self.heard.append(frame)
                    await self._answer(socket, side, frame)
                if side.closing:
                    await socket.close(side.closing.code, side.closing.reason)
        except ConnectionClosed:
            pass

    async def _answer(self, socket: ServerConnection, side: DashboardSide, frame: FromNode) -> None:
        match frame:
            case Hello() if self.closes_with is not None:
                await socket.close(self.closes_with)
            case Hello() if not self.mute:
                side.send_descriptor(self._descriptor())
            case Telemetry() if not self.silent_on_telemetry:
                self._commit(side, frame)
            case GoingIdle() if not self.mute_idle:
                side.acknowledge_idle()
        await _write(socket, side)

    def _descriptor(self) -> DescriptorBody:
        return DescriptorBody(
            contract_version=1,
            resume_from=self.hwm,
            spool_reset=self.spool_reset,
            resume_after_seconds=self.resume_after_seconds,
            desired=self.desired,
            limits=self.limits,
        )

    def _commit(self, side: DashboardSide, frame: Telemetry) -> None:
        if self.rewinds or frame.after > self.hwm:
            self.rewinds = max(self.rewinds - 1, 0)
            side.send_rewind(self.hwm)
            return
        if frame.to > self.hwm:
            items = [msgspec.json.decode(item) for item in frame.items]
            self.items += [item for item in items if item["seq"] > self.hwm]
            self.dropped = {
                kind: self.dropped.get(kind, 0) + frame.dropped.get(kind, 0)
                for kind in {*self.dropped, *frame.dropped}
            }
            self.hwm = frame.to
        side.send_ack(frame.to, self.refused_items)


async def _write(socket: ServerConnection, side: DashboardSide) -> None:
    for message in side.frames_to_send():
        await socket.send(message, text=True)
