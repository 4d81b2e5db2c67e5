"""Listens for clients, peers and operators."""

import asyncio

from aiohttp import web

from meshcore.aio.gateway.answers import openai_errors
from meshcore.aio.gateway.client_routes import ClientRoutes
from meshcore.aio.gateway.connection import Connection
from meshcore.aio.gateway.operator_routes import OperatorRoutes
from meshcore.aio.gateway.peer_routes import PeerRoutes

BACKLOG = 1024  # connections that wait to be accepted: all of `max_streams` may come in one burst
STOP_SECONDS = 1.0  # for answers in flight when the server stops; the node has waited for them before


class Gateway:
    """The endpoint of a node."""

    def __init__(self, clients: ClientRoutes, peers: PeerRoutes, operators: OperatorRoutes) -> None:
        self._routes = [*clients.routes(), *peers.routes(), *operators.routes()]
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    def build(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[openai_errors])
        app.add_routes(self._routes)
        return app

    async def start(self, host: str, port: int) -> str:
        """Listen, and return the URL; port 0 takes a free one. Raises OSError."""
        # Who leaves cancels the call, and with it what is open upstream.
        runner = web.AppRunner(self.build(), handler_cancellation=True, shutdown_timeout=STOP_SECONDS)
        await runner.setup()
        server = runner.server
        assert server is not None  # noqa: S101 - set up means that there is one
        loop = asyncio.get_running_loop()
        try:
            listener = await loop.create_server(
                lambda: Connection(server, loop=loop), host, port, backlog=BACKLOG
            )
        except OSError:
            await runner.cleanup()
            raise
        self._runner, self._listener = runner, listener
        return f"http://{host}:{listener.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and cut off what is still being answered; stopping again does nothing."""
        if self._listener is not None and self._runner is not None:
            self._listener.close()
            await self._runner.cleanup()
            self._runner = self._listener = None
