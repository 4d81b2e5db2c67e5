"""Requests to HTTP/1.1 servers over pooled connections.

Redirects are answers like others; cookies and packed bodies are not asked for.
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, lru_cache
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from meshcore.aio.http_answer import HttpAnswer
from meshcore.aio.http_exchange import Connection
from meshcore.aio.http_fields import read_buffer
from meshcore.aio.http_terms import Broken, NotConnected, NotTrusted, Origin

IDLE_SECONDS = 15.0  # a connection that nobody used for so long is closed
OTHER_FAMILY_SECONDS = 0.25  # before an address of the other family is tried too (RFC 8305 §5)
REPEATABLE = frozenset({"GET"})  # asked again when a connection that was idle breaks: its server closed it
_PORTS = {"http": 80, "https": 443}
_IN_PATH = "/%:@!$&'()*+,;=~"  # stay as they are


class _Target(NamedTuple):
    origin: Origin
    authority: str
    path: str


class HttpClient:
    """A pool, and the `headers` that go with every request.

    `connections_max` are open at once, to all servers; more requests wait. None: as many as there are calls.
    """

    def __init__(
        self, headers: Mapping[str, str], *, connect_seconds: float, connections_max: int | None = None
    ) -> None:
        self.buffer = read_buffer()
        self._lines = _header_lines({"Accept-Encoding": "identity", **headers})
        self._connect_seconds = connect_seconds
        self._connections_max = connections_max
        self._slots = asyncio.Semaphore(connections_max) if connections_max is not None else None
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def request(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """Return an answer as soon as its head came; release it.

        Raises HttpError, and TimeoutError when no connection could be had in time.
        """
        target = _target(url)
        lines = self._lines + _header_lines(headers) if headers else self._lines
        head = f"{method} {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n{lines}"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        if method in REPEATABLE and self._idle.get(target.origin):
            with suppress(Broken):
                return await self._exchange(target.origin, request)
            return await self._exchange(target.origin, request, anew=True)
        return await self._exchange(target.origin, request)

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in self._open:
            connection.close()
        await asyncio.sleep(0)  # until their sockets are closed

    @property
    def idle(self) -> int:
        """How many connections are there to be used again."""
        return sum(map(len, self._idle.values()))

    def opened(self, connection: Connection) -> None:
        """Know of a connection."""
        self._open.add(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)

    def give_back(self, connection: Connection, *, reusable: bool) -> None:
        """Take a connection that its answer needs no longer."""
        self._free_slot()
        if not reusable or self._closed:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_SECONDS, self._close_old)

    async def _exchange(self, origin: Origin, request: bytes, *, anew: bool = False) -> HttpAnswer:
        if self._slots is not None:
            await self._slots.acquire()
        try:
            connection = None if anew else self._take(origin)
            connection = connection or await self._connect(origin)
            if self._closed:
                connection.close()
                raise NotConnected("the pool was closed")
        except BaseException:
            self._free_slot()
            raise
        return await connection.exchange(request)

    def _take(self, origin: Origin) -> Connection | None:
        """Return the idle connection that was used last, if one is left."""
        connections = self._idle.get(origin)
        while connections:
            connection = connections.pop()
            if connection.is_open and connection.is_quiet:
                return connection
            connection.close()
        return None

    async def _connect(self, origin: Origin) -> Connection:
        host, port, tls = origin
        self._make_room()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self, origin),
                    host,
                    port,
                    ssl=_trust() if tls else None,
                    happy_eyeballs_delay=None if _is_address(host) else OTHER_FAMILY_SECONDS,
                )
        except ssl.SSLError as exc:
            raise NotTrusted from exc
        except TimeoutError:
            raise
        except (OSError, ValueError) as exc:  # of the resolver, for a name that it can't even ask for
            raise NotConnected from exc
        return connection

    def _make_room(self) -> None:
        """Close the connection that was idle for longest when no more may be open, whoever it leads to."""
        if self._connections_max is None or len(self._open) < self._connections_max:
            return
        idle = [each for connections in self._idle.values() for each in connections if each.is_open]
        if idle:
            min(idle, key=lambda each: each.idle_since).close()

    def _free_slot(self) -> None:
        if self._slots is not None:
            self._slots.release()

    def _close_old(self) -> None:
        loop = asyncio.get_running_loop()
        for origin, connections in list(self._idle.items()):
            young = [each for each in connections if loop.time() - each.idle_since < IDLE_SECONDS]
            for connection in connections:
                if connection not in young:
                    connection.close()
            self._idle[origin] = young
            if not young:
                del self._idle[origin]
        self._sweep = loop.call_later(IDLE_SECONDS, self._close_old) if self._idle else None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _header_lines(headers: Mapping[str, str]) -> str:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if not lines.count("\r") == lines.count("\n") == len(headers):
        raise ValueError("headers: expected values of one line")
    return lines


@lru_cache(maxsize=1024)
def _target(url: str) -> _Target:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        host = (parts.hostname or "").encode("idna").decode()
    except (ValueError, KeyError) as exc:  # of the codec, too, for a name that no DNS could hold
        raise NotConnected(f"{url!r}: expected http:// or https:// and a host") from exc
    if not host:
        raise NotConnected(f"{url!r}: expected a host")
    name = f"[{host}]" if ":" in host else host
    authority = name if parts.port is None else f"{name}:{port}"
    path = quote(parts.path or "/", safe=_IN_PATH) + (f"?{parts.query}" if parts.query else "")
    return _Target(Origin(host, port, parts.scheme == "https"), authority, path)


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()
