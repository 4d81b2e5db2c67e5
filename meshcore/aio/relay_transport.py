"""The link's socket on the node's side: dial, handshake, serve, dial again.

One task of a transport dials, so there is never a second connection beside the first; it lives from `connect`
to `disconnect`. What may be said is `meshcore.link`'s to decide, when to dial again `meshcore.redial`'s
(link-and-telemetry, "Rules").
"""

import asyncio
import random as chance
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from meshcore import clock as real
from meshcore.aio.inbound_events import Handler, InboundEvents
from meshcore.aio.relay_session import CLOSE_SECONDS, End, LinkLost, RelaySession
from meshcore.aio.run_streams import RunStreams
from meshcore.capability import Manifest
from meshcore.clock import Clock, UtcNow
from meshcore.frames import (
    MESSAGE_MAX_BYTES,
    Descriptor,
    DescriptorBody,
    FromDashboard,
    Health,
    Hello,
    Inbound,
)
from meshcore.link import LinkPolicy, NodeSide
from meshcore.redial import Redial

log = structlog.get_logger(__name__)

DIAL_SECONDS = 10.0  # for TCP, TLS and the upgrade
PING_SECONDS = 10.0  # a half-open connection is found within PING_SECONDS + PONG_SECONDS
PONG_SECONDS = 20.0  # a busy dashboard answers late; less made false alarms elsewhere


class WebSocketRelayTransport:
    """The connection of one node to the dashboard. `url` is used as given.

    `hello` and `health` make the frames of that name when they are due; without `health` none is said.
    `on_frame` gets descriptors and desired state, one after the other, `streams` what is about watched runs.
    With `reconnect` a lost connection is dialled again until `disconnect`, or until the dashboard refuses the
    token.
    """

    def __init__(
        self,
        url: str,
        node_id: str,
        *,
        token: str = "",
        hello: Callable[[], Hello] | None = None,
        health: Callable[[], Health] | None = None,
        on_frame: Callable[[FromDashboard], Awaitable[None]] | None = None,
        streams: RunStreams | None = None,
        reconnect: bool = False,
        reconnect_backoff_s: float = 1.0,
        policy: LinkPolicy | None = None,
        clock: Clock = real.monotonic,
        utcnow: UtcNow = real.utcnow,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._hello = hello or _plain_hello(node_id, utcnow)
        self._health = health
        self._on_frame = on_frame
        self._streams = streams
        self._reconnect = reconnect
        self._redial = Redial(base_seconds=reconnect_backoff_s, random=random)
        self._policy = policy or LinkPolicy()
        self._clock = clock
        self._random = random
        self._events = InboundEvents(self._acknowledge)
        self._session: RelaySession | None = None
        self._opened = asyncio.Event()
        self._dialler: asyncio.Task[End] | None = None

    def set_inbound_handler(self, handler: Handler) -> None:
        """Hand the dashboard's events, as dicts, to `handler`, a function or a coroutine function.

        An event with a buffer id is acknowledged once the handler has returned, so it must have kept what it
        needs.
        """
        self._events.handler = handler

    async def connect(self) -> None:
        """Dial, and say hello; raises LinkLost. With `reconnect` it returns once a dial succeeded."""
        if self._dialler is not None and not self._dialler.done():
            raise RuntimeError("connected already: one transport has one connection")
        connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        dialler = self._dialler = asyncio.create_task(self._keep_connected(connected))
        either: list[asyncio.Future[Any]] = [dialler, connected]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not connected.done():
            end = End(None, "disconnected") if dialler.cancelled() else dialler.result()
            raise LinkLost(f"{self._url}: {end.reason}", code=end.code)

    async def handshake(self, timeout_s: float = 30.0) -> DescriptorBody:
        """Return the dashboard's answer to this connection's hello.

        Raises LinkLost when the connection is or gets lost, TimeoutError when there is no answer in time.
        """
        if self._session is None:
            raise LinkLost("not connected: connect first")
        async with asyncio.timeout(timeout_s):
            return await self._session.descriptor()

    async def opened(self) -> RelaySession:
        """Return the connection whose handshake is done, as soon as there is one."""
        while self._session is None or not self._session.is_open:
            self._opened.clear()
            await self._opened.wait()
        return self._session

    async def ended(self) -> End:
        """Wait until nobody dials any more, and say why; raises LinkLost when nobody ever did."""
        if self._dialler is None:
            raise LinkLost("not connected: connect first")
        return await asyncio.shield(self._dialler)

    async def go_idle(self, timeout_s: float = 10.0) -> bool:
        """Ask to be shown as idle, and go on serving.

        Return whether the dashboard said in time that it does.
        """
        return self._session is not None and await self._session.go_idle(timeout_s)

    def health_changed(self) -> None:
        """Say health soon, if there is a connection; if not the next one begins with it."""
        if self._session is not None:
            self._session.health_changed()

    async def redial(self, reason: str) -> None:
        """Close the connection that there is, so that the next one says hello with what is true now."""
        if self._session is not None:
            await self._session.close(reason=reason)

    async def disconnect(self) -> None:
        """Close for good: nobody dials any more, events in hand are abandoned and will come again."""
        dialler, self._dialler = self._dialler, None
        if self._session is not None:
            await self._session.close()
        if dialler is not None:
            dialler.cancel()
            await asyncio.wait([dialler])
        if self._streams is not None:
            await self._streams.close()
        await self._events.abandon()

    async def _keep_connected(self, connected: "asyncio.Future[None]") -> End:
        while True:
            end = await self._dial(connected)
            if not self._reconnect:
                return end
            delay = self._redial.delay_after(end.code, end.up_seconds)
            if delay is None:
                log.error("link.refused", url=self._url, code=end.code, reason=end.reason)
                return end
            log.warning(
                "link.lost", url=self._url, code=end.code, reason=end.reason, again_in_seconds=round(delay, 2)
            )
            await asyncio.sleep(delay)

    async def _dial(self, connected: "asyncio.Future[None]") -> End:
        """Dial once, serve until the end."""
        try:
            async with connect(
                self._url,
                additional_headers=self._headers,
                compression=None,  # frames are small and local; contexts cost memory at a thousand nodes
                open_timeout=DIAL_SECONDS,
                ping_interval=PING_SECONDS,
                ping_timeout=PONG_SECONDS,
                close_timeout=CLOSE_SECONDS,
                max_size=MESSAGE_MAX_BYTES,
            ) as socket:
                side = NodeSide(self._hello(), clock=self._clock, random=self._random, policy=self._policy)
                self._session = RelaySession(
                    socket, side, on_frame=self._heard, health=self._health, clock=self._clock
                )
                if not connected.done():
                    connected.set_result(None)
                return await self._serve(self._session)
        except (OSError, WebSocketException) as exc:
            return End(None, f"{type(exc).__name__}: {exc}")

    async def _serve(self, session: RelaySession) -> End:
        try:
            return await session.serve()
        finally:
            if self._streams is not None:
                self._streams.lost(session)

    async def _heard(self, frame: FromDashboard) -> None:
        if self._streams is not None and self._session and self._streams.heard(self._session, frame):
            return
        if isinstance(frame, Inbound):
            self._events.take(frame)
            return
        if self._on_frame is not None:
            await self._on_frame(frame)
        if isinstance(frame, Descriptor):
            self._opened.set()

    async def _acknowledge(self, buffer_id: str) -> None:
        if self._session is None:
            raise LinkLost("not connected")
        await self._session.acknowledge_inbound(buffer_id)


class RelayAdapter:
    """A link that is there or not: connecting includes the handshake, leaving says goodbye."""

    def __init__(self, *, transport: WebSocketRelayTransport, idle_timeout_s: float = 2.0) -> None:
        self._transport = transport
        self._idle_timeout_s = idle_timeout_s

    async def connect(self) -> DescriptorBody:
        """Return the dashboard's answer to hello.

        Raises LinkLost or TimeoutError, and is not connected then.
        """
        await self._transport.connect()
        try:
            return await self._transport.handshake()
        except BaseException:
            await self._transport.disconnect()
            raise

    async def disconnect(self) -> None:
        """Go idle, as far as the dashboard answers in time, and close in any case."""
        try:
            await self._transport.go_idle(self._idle_timeout_s)
        finally:
            await self._transport.disconnect()


def _plain_hello(node_id: str, utcnow: UtcNow) -> Callable[[], Hello]:
    instance_id = uuid.uuid4().hex

    def hello() -> Hello:
        return Hello(
            node_id=node_id,
            instance_id=instance_id,
            spool_id=instance_id,  # nothing is spooled: a spool of this process alone
            clock=utcnow(),
            manifest=Manifest(node_id=node_id),
        )

    return hello
