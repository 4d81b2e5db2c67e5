"""Listens for clients, peers and operators."""

import asyncio
import resource

from meshcore.aio.gateway.answers import Dateline
from meshcore.aio.gateway.client_routes import ClientRoutes
from meshcore.aio.gateway.connection import Connection
from meshcore.aio.gateway.operator_routes import OperatorRoutes
from meshcore.aio.gateway.peer_routes import PeerRoutes
from meshcore.aio.gateway.routes import Routes
from meshcore.aio.gateway.run_routes import RunRoutes
from meshcore.aio.http_fields import read_buffer
from meshcore.clock import Clock, UtcNow, monotonic, utcnow

BACKLOG = 1024  # connections that wait to be accepted: all of `max_streams` may come in one burst
CONNECTIONS_MAX = 8192  # or half of the files that this process may open: providers and files need some too
EVICTED_SHARE = 16  # of the idle ones this part is closed when there are too many
STOP_SECONDS = 1.0  # for answers in flight when the server stops; the node has waited for them before


class Gateway:
    """The endpoint of a node."""

    def __init__(
        self,
        clients: ClientRoutes,
        peers: PeerRoutes,
        operators: OperatorRoutes,
        runs: RunRoutes | None = None,
        *,
        clock: Clock = monotonic,
        utcnow: UtcNow = utcnow,
    ) -> None:
        self._routes = Routes(
            [*clients.routes(), *peers.routes(), *operators.routes(), *(runs.routes() if runs else ())]
        )
        self._dateline = Dateline(clock, utcnow)
        self._connections: set[Connection] = set()
        self._buffer = read_buffer()
        self._connections_max = _connections_max()
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> str:
        """Listen, and return the URL; port 0 takes a free one. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connection, host, port, backlog=BACKLOG)
        name = f"[{host}]" if ":" in host else host
        return f"http://{name}:{self._listener.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and cut off what is still being answered; stopping again does nothing."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        for connection in list(self._connections):
            connection.finish()
        await self._wait()
        for connection in list(self._connections):
            connection.abort()
        await self._wait()

    def _connection(self) -> Connection:
        if len(self._connections) >= self._connections_max:
            self._make_room()
        return Connection(self._routes, self._dateline, self._connections, self._buffer)

    def _make_room(self) -> None:
        """Close what was idle for longest; nobody who is being answered is cut off.

        Many at once, for looking at all of them takes its time, and who opens so many goes on with it.
        """
        idle = [each for each in self._connections if each.task is None]
        idle.sort(key=lambda each: each.idle_since)
        for each in idle[: max(1, len(idle) // EVICTED_SHARE)]:
            self._connections.discard(each)  # now: those that come in the same burst count what is left
            each.abort()

    async def _wait(self) -> None:
        """Wait for what is being answered, for a while."""
        tasks = [connection.task for connection in self._connections if connection.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)


def _connections_max() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS_MAX if files == resource.RLIM_INFINITY else min(CONNECTIONS_MAX, files // 2)
