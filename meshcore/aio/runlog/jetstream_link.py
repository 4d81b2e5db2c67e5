"""The connection of a JetStream log: what it asks, what it hears, and how it comes back.

Nothing is buffered while there is no connection: what can't be sent fails. A connection that is silent is
given up, one that the server closed is made again; behind each of them the subscription is a new one, because
the server may have forgotten the old one, and whoever hears is told that something may be missing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from meshcore.aio.runlog.base import Conflict, EngineGone
from meshcore.aio.runlog.jetstream_url import Place

T = TypeVar("T")

ACK_SECONDS = 1.0  # for the answer to one request; half of what a node waits for its engine
CONNECT_SECONDS = 1.0
PING_SECONDS = 1  # on a connection, also an idle one
PINGS_MAX = 2  # without an answer; then the connection is given up: before others take the node for dead
HEARTBEAT_SECONDS = 1.0  # of the subscription; after two without it is made again
RETRY_SECONDS = 0.2
CONFLICTS = frozenset({10071, 10164})  # wrong last sequence, said by two parts of the server

logger = logging.getLogger(__name__)


class Link:
    """See the module. `on_record` hears of each record of all runs, `on_lost` that some may be missing."""

    def __init__(
        self, place: Place, *, on_record: Callable[[Msg], Awaitable[None]], on_lost: Callable[[], None]
    ) -> None:
        self._place = place
        self._on_record = on_record
        self._on_lost = on_lost
        self._connection = Client()
        self._subscription: JetStreamContext.PushSubscription | None = None
        self._is_broken = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self.js = self._connection.jetstream(timeout=ACK_SECONDS)

    @property
    def version(self) -> tuple[int, int, int]:
        """Of the server."""
        version = self._connection.connected_server_version
        return version.major, version.minor, version.patch

    async def connect(self) -> None:
        """Connect. Raises EngineGone."""
        place = self._place
        await _reachable(place)
        try:
            self._connection = await nats.connect(
                place.server,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=RETRY_SECONDS,
                connect_timeout=CONNECT_SECONDS,
                ping_interval=PING_SECONDS,
                max_outstanding_pings=PINGS_MAX,
                pending_size=0,
                error_cb=_say_nothing,
                reconnected_cb=self._break,
                closed_cb=self._break,
            )
        except (nats.errors.Error, OSError, TimeoutError) as exc:
            raise EngineGone(f"{place.server}: {exc}") from exc
        self.js = self._connection.jetstream(timeout=ACK_SECONDS)

    async def listen(self) -> None:
        """Hear of all records from now on, for as long as the link lives. Raises EngineGone."""
        await self._subscribe()
        self._keeping = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Close the connection."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        await self._connection.close()

    async def _break(self) -> None:
        self._is_broken.set()

    async def _keep(self) -> None:
        while True:
            await self._is_broken.wait()
            self._is_broken.clear()
            try:
                if self._connection.is_closed:
                    await self.connect()
                await self._subscribe()
            except EngineGone as exc:
                logger.warning("the run log is not heard yet: %s", exc)
                self._is_broken.set()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._on_lost()

    async def _subscribe(self) -> None:
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error, OSError):  # the connection may be another one
                await self._subscription.unsubscribe()
            self._subscription = None
        asked = self.js.subscribe(
            self._place.subject("run", "*"),
            cb=self._on_record,
            ordered_consumer=True,
            idle_heartbeat=HEARTBEAT_SECONDS,
            deliver_policy=api.DeliverPolicy.NEW,
        )
        self._subscription = await asked_of(asked)


async def _reachable(place: Place) -> None:
    """The client waits 2 s behind a connection that was refused; this says so at once."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(place.host, place.port)
    except (OSError, TimeoutError) as exc:
        raise EngineGone(f"{place.server}: {exc or 'no answer'}") from exc
    writer.close()


async def asked_of(answer: Awaitable[T]) -> T:
    """Return what the server answers; raises Conflict and EngineGone for what it says instead."""
    try:
        return await answer
    except nats.js.errors.APIError as exc:
        if exc.err_code in CONFLICTS:
            raise Conflict(str(exc.description)) from exc
        raise EngineGone(f"JetStream: {exc.description} ({exc.err_code})") from exc
    except (nats.errors.Error, OSError, TimeoutError) as exc:
        raise EngineGone(f"NATS: {exc or type(exc).__name__}") from exc


async def found_by(answer: Awaitable[T]) -> T | None:
    """Return a message, None when there is none."""

    async def ask() -> T | None:
        try:
            return await answer
        except nats.js.errors.NotFoundError:
            return None

    return await asked_of(ask())


async def _say_nothing(_: Exception) -> None:
    """What goes wrong is said by the request that it concerns."""
