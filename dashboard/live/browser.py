"""`/live`: the websocket of an open page. Cells go out as HTML that htmx swaps in, acknowledgements come."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import msgspec
from channels.exceptions import StopConsumer

from dashboard import runtime
from dashboard.live import entry, recheck
from dashboard.live.delivery import Visitor
from dashboard.live.entry import Close, Wish
from dashboard.live.fanout import Full
from dashboard.live.viewer import ALL, NotSent, Viewer, ViewerPolicy
from dashboard.plain_consumer import PlainConsumer

logger = logging.getLogger(__name__)

POLICY = ViewerPolicy()


class Said(msgspec.Struct, frozen=True):
    """What a page says: the number of the message it shows, or that it wants every cell again."""

    ack: int = 0
    all: bool = False


said_in = msgspec.json.Decoder(Said).decode


class LiveConsumer(PlainConsumer):
    """One open page: lets it in, and hears it; what it is sent is the delivery's."""

    _visitor: Visitor | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve a socket to its end; whatever ends it, the seat is given back."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._visitor is not None:
                self._visitor.delivery.leave(self._visitor)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Let the page in, or say by a code why not; a foreign origin isn't even accepted."""
        if not entry.comes_from_us(self.scope):
            await self.send({"type": "websocket.close"})
            raise StopConsumer
        await self.send({"type": "websocket.accept"})
        refusal = await self._enter(Wish.of(self.scope))
        if refusal is not None:
            await self._close(refusal)

    async def _enter(self, wish: Wish) -> Close | None:
        """Begin to watch, or return why not."""
        running = runtime.current()
        try:
            refusal = await running.in_render(entry.refusal, wish)
            if refusal is not None:
                return refusal
            visitor = self._visitor = self._sits_down(wish)
            # behind sitting down, so that no change falls between what was missed and what is noted
            missed = await running.in_render(entry.missed_list_changes, wish)
        except Full:
            return Close.TRY_LATER
        except Exception:
            logger.exception("a live page failed")
            return Close.INTERNAL_ERROR
        visitor.viewer.changed((), list_changes=missed)
        visitor.wake()
        return None

    def _sits_down(self, wish: Wish) -> Visitor:
        viewer = Viewer(clock=asyncio.get_running_loop().time, policy=POLICY)
        delivery = recheck.of(runtime.current())
        lasting = replace(wish, since=None)  # the same for all that a session has open of a page
        visitor = Visitor(wish.page, lasting, viewer, self._send_text, self._send_close, delivery)
        delivery.enter(visitor)
        return visitor

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Take what the page says; anything else comes from no page of ours."""
        visitor = self._visitor
        if visitor is None:
            return
        try:
            said = said_in(message.get("text") or b"")
            if said.all:
                visitor.viewer.changed((ALL,))
            else:
                visitor.viewer.acknowledged(said.ack)
        except (msgspec.DecodeError, NotSent):
            await self._close(Close.BAD_MESSAGE)
        visitor.wake()

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End with the socket."""
        raise StopConsumer

    async def _send_text(self, text: str) -> None:
        await self.base_send({"type": "websocket.send", "text": text})

    async def _send_close(self, code: Close) -> None:
        await self.base_send({"type": "websocket.close", "code": code.value})

    async def _close(self, code: Close) -> None:
        await self._send_close(code)
        raise StopConsumer
