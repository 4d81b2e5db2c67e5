"""A node's end of the link: health and telemetry up, desired state and events down.

The protocol is `meshcore.link`, the socket `relay_transport`; here the node's spool is emptied over it. One
telemetry frame is under way at a time. What was lost with a connection is sent again on the next one, from
the mark that the dashboard names; the dashboard stores it once.
"""

import asyncio
import random as chance
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import msgspec
import structlog

from meshcore import clock as real
from meshcore.aio.inbound_events import Handler
from meshcore.aio.relay_session import LinkLost, RelaySession
from meshcore.aio.relay_transport import RelayAdapter, WebSocketRelayTransport
from meshcore.aio.run_streams import RunStreams
from meshcore.clock import Clock
from meshcore.frames import (
    Descriptor,
    DescriptorBody,
    Desired,
    FromDashboard,
    Health,
    Hello,
    Peers,
    Refused,
    Rewind,
    Telemetry,
    TelemetryAck,
)
from meshcore.spool_entry import ENVELOPE_BYTES

__all__ = ["LinkClient", "LinkLost", "RelayAdapter", "WebSocketRelayTransport", "link_url"]

log = structlog.get_logger(__name__)

PATH = "/link/v1"
SPOOL_SECONDS = 5.0  # after a disk that failed: what it couldn't do is tried again
REWIND_SECONDS = 1.0  # after a rewind: a dashboard that can't store must not be asked without a pause
RESUME_MAX_SECONDS = 300.0  # a dashboard may ask for patience, not for silence
REFUSED_SHOWN = 5  # refused items in one log line

OnDesired = Callable[[Desired], Awaitable[None]]
"""Stores the desired state and acts on it; older generations come, too, and are the callee's to ignore."""

OnPeers = Callable[[Peers], None]
"""Takes note of which other nodes there are."""


class Spool(Protocol):
    """What waits to be told, as `meshcore.aio.spool_file` keeps it on disk."""

    @property
    def spool_id(self) -> str:
        """Return which spool this is."""

    @property
    def last_seq(self) -> int:
        """Return the last number that was given out."""

    async def batch_behind(self, after: int, *, max_bytes: int) -> Telemetry:
        """Return the next frame behind `after`, as soon as there is one."""

    async def acknowledge(self, to: int) -> None:
        """Forget what the dashboard has committed."""

    async def resume(self, mark: int) -> None:
        """Take what the dashboard says in a handshake: it has all up to `mark`, and nothing is under way."""

    async def take_new_id(self) -> None:
        """Become another spool; what the dashboard has may stay behind."""


def link_url(dashboard_url: str) -> str:
    """Return where nodes connect to the dashboard at `dashboard_url` (http or https).

    Ws and wss stay as given.
    """
    parts = urlsplit(dashboard_url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme)
    if scheme is None:
        return dashboard_url
    path = parts.path.rstrip("/")
    return urlunsplit((scheme, parts.netloc, path if path.endswith(PATH) else path + PATH, "", ""))


class LinkClient:
    """Keeps one node connected to its dashboard while `run` runs.

    `hello` and `health` are asked for the present whenever it is said: of the hello the spool's fields are
    filled in here, of the health the number. `on_desired` is awaited before anything later is read. An event
    for `on_inbound` is acknowledged once that has returned. `streams` sends the runs that are watched.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        hello: Callable[[], Hello],
        health: Callable[[], Health],
        spool: Spool,
        on_desired: OnDesired,
        on_inbound: Handler | None = None,
        on_peers: OnPeers | None = None,
        streams: RunStreams | None = None,
        reconnect_backoff_s: float = 1.0,
        clock: Clock = real.monotonic,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self.first_descriptor = asyncio.Event()
        self._hello_changed = asyncio.Event()
        self._make_hello = hello
        self._spool = spool
        self._acknowledged = 0  # of the spool's numbers, by the dashboard's last word
        self._on_desired = on_desired
        self._on_peers = on_peers
        self._transport = WebSocketRelayTransport(
            link_url(url),
            "",  # the hello names the node
            token=token,
            hello=self._hello,
            health=health,
            on_frame=self._heard,
            streams=streams,
            reconnect=True,
            reconnect_backoff_s=reconnect_backoff_s,
            clock=clock,
            random=random,
        )
        if on_inbound is not None:
            self._transport.set_inbound_handler(on_inbound)

    async def run(self) -> None:
        """Stay connected until cancelled; returns when the dashboard refuses the token for good."""
        try:
            await _first_of(self._empty_the_spool(), self._dial(), self._introduce_again())
        finally:
            await self._transport.disconnect()

    def health_changed(self) -> None:
        """Say health at once, at most four times a second."""
        self._transport.health_changed()

    def hello_changed(self) -> None:
        """Say hello again, on another connection, if one was made already."""
        self._hello_changed.set()

    async def go_idle(self, timeout_s: float = 10.0) -> bool:
        """Ask to be shown as idle before a clean stop.

        Return whether the dashboard said in time that it does.
        """
        return await self._transport.go_idle(timeout_s)

    def _hello(self) -> Hello:
        return msgspec.structs.replace(
            self._make_hello(),
            spool_id=self._spool.spool_id,
            spool_last_seq=self._spool.last_seq,
            spool_acknowledged=self._acknowledged,
        )

    async def _dial(self) -> None:
        with suppress(LinkLost):
            await self._transport.connect()
        await self._transport.ended()

    async def _introduce_again(self) -> None:
        while True:
            await self._hello_changed.wait()
            self._hello_changed.clear()
            await self._transport.redial("there is more to say in the hello")

    async def _heard(self, frame: FromDashboard) -> None:
        match frame:
            case Descriptor(descriptor=body):
                await self._greeted(body)
            case Desired():
                await self._obey(frame)
            case Peers():
                self._note_peers(frame)

    async def _greeted(self, body: DescriptorBody) -> None:
        log.info("link.up", contract_version=body.contract_version, resume_from=body.resume_from)
        if body.desired is not None:
            await self._obey(body.desired)
        self.first_descriptor.set()

    async def _obey(self, desired: Desired) -> None:
        try:
            await self._on_desired(desired)
        except Exception:  # not observed, so the dashboard shows it as not acknowledged; the link lives on
            log.exception("link.desired_not_taken", generation=desired.generation)

    def _note_peers(self, peers: Peers) -> None:
        try:
            if self._on_peers is not None:
                self._on_peers(peers)
        except Exception:  # a node without the others' addresses still serves, and the link lives on
            log.exception("link.peers_not_taken", rev=peers.rev)

    async def _empty_the_spool(self) -> None:
        while True:
            session = await self._transport.opened()
            try:
                await _first_of(self._replay(session, await session.descriptor()), session.gone())
            except LinkLost:
                continue
            except OSError as exc:
                log.error("link.spool_failed", error=str(exc))
                await asyncio.sleep(SPOOL_SECONDS)

    async def _replay(self, session: RelaySession, body: DescriptorBody) -> None:
        """Send what lies behind the mark, and go on until the connection is lost."""
        if body.spool_reset:
            log.warning("link.spool_reset", mark=body.resume_from, last_seq=self._spool.last_seq)
            await self._spool.take_new_id()
            self._acknowledged = 0
            await session.close(reason="spool reset")
            return
        await asyncio.sleep(min(body.resume_after_seconds, RESUME_MAX_SECONDS))
        after = body.resume_from
        await self._spool.resume(after)
        while True:
            batch = await self._spool.batch_behind(
                after, max_bytes=body.limits.max_frame_bytes - ENVELOPE_BYTES
            )
            after = await self._settle(await session.push(batch))
            if after >= self._spool.last_seq:  # what comes meanwhile goes together
                await asyncio.sleep(body.limits.telemetry_seconds)

    async def _settle(self, answer: TelemetryAck | Rewind) -> int:
        """Return where to go on behind."""
        if isinstance(answer, Rewind):
            log.warning("link.rewound", hwm=answer.hwm)
            await asyncio.sleep(REWIND_SECONDS)
            return answer.hwm
        _say_refused(answer.refused)
        self._acknowledged = answer.to
        await self._spool.acknowledge(answer.to)
        return answer.to


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until one is done, cancel the others; raises what that one raises."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _say_refused(refused: tuple[Refused, ...]) -> None:
    if refused:
        shown: list[Any] = [f"{item.seq}: {item.reason}" for item in refused[:REFUSED_SHOWN]]
        log.warning("link.items_refused", count=len(refused), first=shown)
