"""Listens for clients, peers and operators, and bounds their connections."""

from aiohttp import web

from meshcore.aio.gateway.answers import openai_errors
from meshcore.aio.gateway.client_routes import ClientRoutes
from meshcore.aio.gateway.operator_routes import OperatorRoutes
from meshcore.aio.gateway.peer_routes import PeerRoutes

HEADER_MAX_BYTES = 16 << 10  # of one header or the request line; a longer one is answered 400
HEADERS_MAX = 100
KEEPALIVE_SECONDS = 75.0  # an idle connection is closed, also one that never sent a whole request
LINGER_SECONDS = 2.0  # a client whose body was refused may still read why
STOP_SECONDS = 1.0  # for answers in flight when the server stops; the node has waited for them before


class Gateway:
    """The endpoint of a node."""

    def __init__(self, clients: ClientRoutes, peers: PeerRoutes, operators: OperatorRoutes) -> None:
        self._routes = [*clients.routes(), *peers.routes(), *operators.routes()]
        self._runner: web.AppRunner | None = None

    def build(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[openai_errors])
        app.add_routes(self._routes)
        return app

    async def start(self, host: str, port: int) -> str:
        """Listen, and return the URL; port 0 takes a free one. Raises OSError."""
        runner = web.AppRunner(
            self.build(),
            access_log=None,
            handler_cancellation=True,  # who leaves cancels the call, and with it what is open upstream
            shutdown_timeout=STOP_SECONDS,
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGER_SECONDS,
            max_line_size=HEADER_MAX_BYTES,
            max_field_size=HEADER_MAX_BYTES,
            max_headers=HEADERS_MAX,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        return f"http://{host}:{runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening and cut off what is still being answered; stopping again does nothing."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
