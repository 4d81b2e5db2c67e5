"""`/live`: the websocket of an open page. Cells go out as HTML that htmx swaps in, acknowledgements come."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer

from dashboard import runtime
from dashboard.live import entry, fanout
from dashboard.live.entry import Close, Wish
from dashboard.live.fanout import Full, Seat
from dashboard.live.viewer import ALL, Act, NotSent, Viewer, ViewerPolicy

logger = logging.getLogger(__name__)

POLICY = ViewerPolicy()
RECHECK_SECONDS = 60.0  # a session that ran out ends its socket this much later; one that was ended, at once


class Said(msgspec.Struct, frozen=True):
    """What a page says: the number of the message it shows, or that it wants every cell again."""

    ack: int = 0
    all: bool = False


class LiveConsumer(AsyncConsumer):
    """One open page."""

    _sender: asyncio.Task[None] | None = None
    channel_layer_alias = "none"  # it hears of changes from the runtime, which needs no channel for each page

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve a socket to its end; whatever ends it, the seat is given back."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._sender is not None:
                self._sender.cancel()
                await asyncio.gather(self._sender, return_exceptions=True)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle a message here and now; Channels' own dispatch first hops into the shared thread."""
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Let the page in, or say by a code why not; a foreign origin isn't even accepted."""
        if not entry.comes_from_us(self.scope):
            await self.send({"type": "websocket.close"})
            raise StopConsumer
        await self.send({"type": "websocket.accept"})
        self._runtime = runtime.current()
        self._wish = Wish.of(self.scope)
        refusal = await self._runtime.in_render(entry.refusal, self._wish)
        if refusal is not None:
            await self._close(refusal)
        self._viewer = Viewer(clock=asyncio.get_running_loop().time, policy=POLICY)
        self._news = asyncio.Event()
        self._recheck_at = asyncio.get_running_loop().time() + RECHECK_SECONDS
        self._sender = asyncio.create_task(self._serve())

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Take what the page says; anything else comes from no page of ours."""
        try:
            said = msgspec.json.decode(message.get("text") or b"", type=Said)
            if said.all:
                self._viewer.changed((ALL,))
            else:
                self._viewer.acknowledged(said.ack)
        except (msgspec.DecodeError, NotSent):
            await self._close(Close.BAD_MESSAGE)
        self._news.set()

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End with the socket."""
        raise StopConsumer

    async def _close(self, code: Close) -> None:
        await self.send({"type": "websocket.close", "code": code.value})
        raise StopConsumer

    async def _serve(self) -> None:
        """Send what is owed until a reason to close; closes with it."""
        hall = fanout.of(self._runtime)
        unsubscribe = self._runtime.on_change("people", self._on_people)
        seat = Seat(self._wish.page, self._viewer, self._news.set)
        try:
            hall.sit(seat)
            code = await self._send_news(hall)
        except Full:
            code = Close.TRY_LATER
        except Exception:
            logger.exception("a live page failed")
            code = Close.INTERNAL_ERROR
        finally:
            unsubscribe()
            hall.leave(seat)
        await self.send({"type": "websocket.close", "code": code.value})

    def _on_people(self, ids: Sequence[int], keys: Sequence[str]) -> None:
        """Somebody signed out, or may more or less than before: perhaps this one."""
        self._recheck_at = 0.0
        self._news.set()

    async def _send_news(self, hall: fanout.Fanout) -> Close:
        now = asyncio.get_running_loop().time
        missed = await self._runtime.in_render(entry.missed_list_changes, self._wish)
        self._viewer.changed((), list_changes=missed)
        while True:
            if now() >= self._recheck_at:
                self._recheck_at = now() + RECHECK_SECONDS
                refusal = await self._runtime.in_render(entry.refusal, self._wish)
                if refusal is not None:
                    return refusal
            match self._viewer.act():
                case Act.GIVE_UP:
                    return Close.TRY_LATER
                case Act.SEND:
                    text = await hall.message(self._wish.page, self._viewer.take())
                    await self.send({"type": "websocket.send", "text": text})
                case Act.WAIT:
                    await self._wait_until(min(self._viewer.next_deadline(), self._recheck_at))

    async def _wait_until(self, deadline: float) -> None:
        """Wait for news, but not beyond `deadline`."""
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._news.wait()
