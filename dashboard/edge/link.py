"""`/link/v1`: the websocket of a node (link-and-telemetry). Who it is comes from its token alone.

The rules of the link are `meshcore.link`'s, what becomes of what is said is `link_session`'s; here is the
socket.
"""

import asyncio
import logging
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer

from dashboard import runtime
from dashboard.edge.link_session import LinkSession
from dashboard.models import Node, Scope
from dashboard.services import audit_refusals, tokens
from dashboard.services.tokens import TokenRejected, TokensUnavailable
from meshcore.link import CloseCode, Closing

logger = logging.getLogger(__name__)

RECHECK_SECONDS = 60.0  # a token that expired ends its socket this much later; one that was revoked at once
REASON_MAX_BYTES = 123  # what a close frame holds (RFC 6455 §5.5)


class LinkConsumer(AsyncConsumer):  # type: ignore[misc]  # Channels has no types
    """One connection of one node; accepted first, so that the close code says why it was refused."""

    channel_layer_alias = "none"  # it hears of changes from the runtime, which needs no channel for each node

    _session: LinkSession | None = None
    _recheck: asyncio.Task[None] | None = None
    _closed = False

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve a socket to its end; whatever ends it, the node's connection is noted as closed."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._recheck is not None:
                self._recheck.cancel()
                await asyncio.gather(self._recheck, return_exceptions=True)
            if self._session is not None:
                await self._session.end()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle a message here and now; Channels' own dispatch first hops into the shared thread."""
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Let a node in whose token counts, or say by a code why not."""
        await self.send({"type": "websocket.accept"})
        node = await self._authenticated()
        if isinstance(node, Closing):
            await self._close(node)
            raise StopConsumer
        self._session = LinkSession(node, runtime.current(), send=self._send, close=self._close)
        self._recheck = asyncio.create_task(self._keep_checking())

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Pass on what the node says."""
        if self._session is not None and not self._closed:
            await self._session.receive(message.get("text") or message.get("bytes") or b"")

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End with the socket."""
        raise StopConsumer

    async def _authenticated(self) -> Node | Closing:
        """Return the node that the token is of, or how to close: 1013 when tokens can't be checked now."""
        address = (self.scope.get("client") or [""])[0]
        try:
            token = await runtime.current().in_control(
                tokens.authenticate, _bearer(self.scope["headers"]), address=address
            )
        except TokenRejected as exc:
            logger.warning("a link from %s is refused: %s", address, exc)
            audit_refusals.note_link(address=address, token=exc.token, reason=str(exc))
            return Closing(CloseCode.UNAUTHORIZED, "unknown or revoked token")
        except TokensUnavailable:
            logger.exception("a link from %s can't be checked", address)
            return Closing(CloseCode.TRY_AGAIN_LATER, "tokens can't be checked now")
        if token.node is None or Scope.NODES_PUSH.value not in token.scopes:
            audit_refusals.note_link(address=address, token=token, reason="the token is not a node's")
            return Closing(CloseCode.UNAUTHORIZED, "the token is not a node's")
        return token.node

    async def _keep_checking(self) -> None:
        """End the connection when its token doesn't count any more."""
        changed = asyncio.Event()
        unsubscribe = runtime.current().on_change("tokens", lambda ids, keys: changed.set())
        try:
            while True:
                await _wait(changed, RECHECK_SECONDS)
                changed.clear()
                node = await self._authenticated()
                if isinstance(node, Closing) and node.code is CloseCode.UNAUTHORIZED:
                    await self._close(node)
                    return
        finally:
            unsubscribe()

    async def _send(self, line: bytes) -> None:
        if not self._closed:
            await self.send({"type": "websocket.send", "text": line.decode()})

    async def _close(self, closing: Closing) -> None:
        if self._closed:
            return
        self._closed = True
        reason = closing.reason.encode()[:REASON_MAX_BYTES].decode(errors="ignore")
        await self.send({"type": "websocket.close", "code": int(closing.code), "reason": reason})


def _bearer(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the secret of the Authorization header, "" when there is none: never from the query string."""
    found = [value.decode("latin-1") for name, value in headers if name == b"authorization"]
    scheme, _, secret = found[0].partition(" ") if len(found) == 1 else ("", "", "")
    return secret.strip() if scheme.lower() == "bearer" else ""


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for `event`, but not longer than `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
