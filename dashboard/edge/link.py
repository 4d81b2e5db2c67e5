"""`/link/v1`: the websocket of a node (link-and-telemetry). Who it is comes from its token alone.

The rules of the link are `meshcore.link`'s, what becomes of what is said is `link_session`'s; here is the
socket.
"""

import asyncio
import logging
from typing import Any

from channels.exceptions import StopConsumer

from dashboard import runtime
from dashboard.edge.address import values
from dashboard.edge.link_session import LinkSession
from dashboard.edge.refusal_log import RefusalLog
from dashboard.edge.standing import Recheck
from dashboard.models import Node
from dashboard.plain_consumer import PlainConsumer
from dashboard.runtime import LaneFull
from dashboard.services import audit_refusals, rights, tokens
from dashboard.services.tokens import TokenRejected, TokensUnavailable
from meshcore.link import CloseCode, Closing

logger = logging.getLogger(__name__)
refusals = RefusalLog(logger)

REASON_MAX_BYTES = 123  # what a close frame holds (RFC 6455 §5.5)


class LinkConsumer(PlainConsumer):
    """One connection of one node; accepted first, so that the close code says why it was refused."""

    _session: LinkSession | None = None
    _recheck: Recheck | None = None
    _rechecking: asyncio.Task[None] | None = None
    _closed = False

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve a socket to its end; whatever ends it, the node's connection is noted as closed."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._recheck is not None:
                self._recheck.end()
            if self._rechecking is not None:
                self._rechecking.cancel()
                await asyncio.gather(self._rechecking, return_exceptions=True)
            if self._session is not None:
                await self._session.end()

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Let a node in whose token counts, or say by a code why not."""
        self._recheck = Recheck(runtime.current(), self._counts)
        await self.send({"type": "websocket.accept"})
        admitted = await self._authenticated(noted=False)  # that is done with the handshake: many wait here
        if isinstance(admitted, Closing):
            await self._close(admitted)
            raise StopConsumer
        node, token_id = admitted
        self._session = LinkSession(
            node, runtime.current(), send=self._send, close=self._close, token_id=token_id
        )
        self._rechecking = asyncio.create_task(self._keep_checking(self._recheck))

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Pass on what the node says."""
        if self._session is not None and not self._closed:
            await self._session.receive(message.get("text") or message.get("bytes") or b"")

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End with the socket."""
        raise StopConsumer

    async def _authenticated(self, *, noted: bool = True) -> tuple[Node, int] | Closing:
        """Return the token's node and its own id, or how to close: 1013 when tokens can't be checked now."""
        address = (self.scope.get("client") or [""])[0]
        secret = tokens.secret_in(values(self.scope, b"authorization"))
        try:
            token = await runtime.current().in_turn(tokens.authenticate, secret, address=address, noted=noted)
        except TokenRejected as exc:
            refusals.warn("a link from %s is refused: %s", address, exc)
            audit_refusals.note_link(address=address, token=exc.token, reason=str(exc))
            return Closing(CloseCode.UNAUTHORIZED, "unknown or revoked token")
        except (TokensUnavailable, LaneFull) as exc:
            refusals.warn("a link from %s can't be checked: %r", address, exc)
            return Closing(CloseCode.TRY_AGAIN_LATER, "tokens can't be checked now")
        if token.node is None or not rights.may_push(token):
            refusals.warn("a link from %s is refused: token %s is not a node's", address, token.prefix)
            audit_refusals.note_link(address=address, token=token, reason="the token is not a node's")
            return Closing(CloseCode.UNAUTHORIZED, "the token is not a node's")
        return token.node, token.pk

    async def _keep_checking(self, recheck: Recheck) -> None:
        """End the connection when its token doesn't count any more."""
        await recheck.until_refused(looked=True)
        await self._close(Closing(CloseCode.UNAUTHORIZED, "unknown or revoked token"))

    async def _counts(self) -> bool | None:
        """Return whether the token counts, None while that can't be checked."""
        admitted = await self._authenticated()
        if isinstance(admitted, Closing):
            return False if admitted.code is CloseCode.UNAUTHORIZED else None
        return True

    async def _send(self, line: bytes) -> None:
        if not self._closed:
            await self.send({"type": "websocket.send", "text": line.decode()})

    async def _close(self, closing: Closing) -> None:
        if self._closed:
            return
        self._closed = True
        reason = closing.reason.encode()[:REASON_MAX_BYTES].decode(errors="ignore")
        await self.send({"type": "websocket.close", "code": int(closing.code), "reason": reason})
