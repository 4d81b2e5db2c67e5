"""Daphne's server, owned: it accepts when the runtime is up, keeps to its limits and stops in time.

Order at the start: runtime, then accept, then say ready. At the end: no new connections, websockets close
with 1012 and their consumers finish, requests in work are answered, the runtime stops (its threads finish
what they were given), exit. Whatever hangs is cut off after its share of the time.
"""

import asyncio
import faulthandler
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from daphne.server import Server
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import STDLibLogObserver, globalLogBeginner

from dashboard.serving.limits import Limits
from dashboard.serving.requests import BoundedFactory, BoundedRequest
from dashboard.serving.sockets import BoundedSocket, BoundedSocketFactory

logger = logging.getLogger(__name__)

GRACE_SECONDS = 1.5  # for closing handshakes and for requests in work
CANCEL_SECONDS = 0.3  # for what was cancelled to notice
EXIT_SECONDS = 4.5  # the process is gone by then, come what may (dashboard.md: under 5 s)
READ_BYTES = 4096  # of the lifeline, which says nothing but its end
DISCONNECT_SECONDS = 10.0  # an application may take this long to end after its client left

Application = Callable[..., Any]
Lifetime = Callable[[], AbstractAsyncContextManager[object]]


class MeshServer(Server):
    """Serves `application` on one listening socket, inside `lifetime`.

    With `lifeline`, the descriptor of a pipe, it stops when the other end is closed, as by a signal.
    """

    def __init__(
        self,
        application: Application,
        *,
        listener: socket.socket,
        lifetime: Lifetime,
        on_ready: Callable[[], None],
        limits: Limits | None = None,
        lifeline: int | None = None,
    ) -> None:
        super().__init__(
            application,
            endpoints=["adopted"],  # it insists on one; ours is bound before and adopted in `_start`
            websocket_timeout=-1,  # its default cuts a wallboard off after a day
            application_close_timeout=DISCONNECT_SECONDS,
            server_name="meshboard",
        )
        self.limits = limits or Limits()
        self.connections: dict[Any, dict[str, Any]] = {}
        self._listener = listener
        self._lifetime = lifetime()
        self._on_ready = on_ready
        self._lifeline = lifeline
        self._port: Any = None
        self._stopping = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; raises what keeps it from starting."""
        globalLogBeginner.beginLoggingTo([STDLibLogObserver("twisted")], redirectStandardIO=False)
        loop = reactor._asyncioEventloop
        asyncio.set_event_loop(loop)
        self.http_factory = BoundedFactory(self, self.limits)
        self.ws_factory = self._make_socket_factory()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._ask_to_stop)
        if self._lifeline is not None:
            loop.add_reader(self._lifeline, self._read_lifeline, loop, self._lifeline)
        loop.run_until_complete(self._start())
        reactor.callLater(1, self.application_checker)
        reactor.callLater(2, self.timeout_checker)
        reactor.addSystemEventTrigger("before", "shutdown", partial(_deferred, self._stop))
        reactor.run(installSignalHandlers=False)  # Twisted's own complain of a second signal
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    def _make_socket_factory(self) -> BoundedSocketFactory:
        factory = BoundedSocketFactory(self, server=self.server_name)
        factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            openHandshakeTimeout=self.websocket_handshake_timeout,
            maxMessagePayloadSize=self.limits.message_bytes,
            maxFramePayloadSize=self.limits.message_bytes,
            failByDrop=False,  # who sends too much is told so (1009)
        )
        return factory

    async def _start(self) -> None:
        await self._lifetime.__aenter__()
        with self._listener as listener:  # the reactor takes a copy
            listener.setblocking(False)
            self._port = reactor.adoptStreamPort(listener.fileno(), listener.family, self.http_factory)
        self._on_ready()

    def _ask_to_stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            reactor.callWhenRunning(reactor.stop)

    def _read_lifeline(self, loop: asyncio.AbstractEventLoop, lifeline: int) -> None:
        if not os.read(lifeline, READ_BYTES):
            loop.remove_reader(lifeline)
            self._ask_to_stop()

    async def _stop(self) -> None:
        _leave_in_time()
        self._port.stopListening()
        self._end_connections()
        await self._finish_applications()
        await self._lifetime.__aexit__(None, None, None)

    def _end_connections(self) -> None:
        for protocol in list(self.connections):
            if isinstance(protocol, BoundedSocket):
                protocol.end()
        for channel in list(self.http_factory.channels):
            channel.end()

    async def _finish_applications(self) -> None:
        running = set(self._applications())
        if running:
            _, running = await asyncio.wait(running, timeout=GRACE_SECONDS)
        for application in running:
            application.cancel()
        if running:
            await asyncio.wait(running, timeout=CANCEL_SECONDS)

    def _applications(self) -> Iterator[asyncio.Task[None]]:
        """The applications in work; a request that is still half sent has none yet."""
        for details in self.connections.values():
            if "application_instance" in details:
                yield details["application_instance"]

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Do what an application says; returns when the client has taken most of what it was sent.

        An open websocket takes what it is given; whoever sends to many relies on that.
        """
        if isinstance(protocol, BoundedSocket) and protocol.state == protocol.STATE_OPEN:
            protocol.handle_reply(message)
            return
        await super().handle_reply(protocol, message)
        if isinstance(protocol, BoundedRequest) and message.get("more_body"):
            await protocol.valve.passable()

    def create_application(
        self, protocol: Any, scope: dict[str, Any]
    ) -> asyncio.Queue[dict[str, Any]] | None:
        """Start the application of a request or websocket; returns its inbox, None if the client left."""
        details = self.connections.get(protocol)
        if details is None:
            return None
        is_socket = isinstance(protocol, BoundedSocket)
        inbox = protocol.inbox(self.limits) if is_socket else asyncio.Queue()
        scope.setdefault("asgi", {"version": "3.0"})
        scope["root_path"] = ""  # Daphne takes it from a header that any client can send
        run = self.application(scope=scope, receive=inbox.get, send=partial(self.handle_reply, protocol))
        details["application_instance"] = asyncio.ensure_future(run)
        return inbox


def _deferred(coroutine: Callable[[], Any]) -> Deferred[None]:
    return Deferred.fromFuture(asyncio.ensure_future(coroutine()))


def _leave_in_time() -> None:
    """End the process after `EXIT_SECONDS` even if a thread hangs: what was committed stays."""
    watchdog = threading.Timer(EXIT_SECONDS, _give_up)
    watchdog.daemon = True
    watchdog.start()


def _give_up() -> None:
    logger.error("still busy %s s after the signal: leaving now", EXIT_SECONDS)
    faulthandler.dump_traceback()  # what with
    os._exit(1)
