"""Open pages at a delivery, without a socket between."""

import asyncio
from collections.abc import Callable

from dashboard.live.delivery import Delivery, Visitor
from dashboard.live.entry import Close, Wish
from dashboard.live.viewer import Viewer, ViewerPolicy

SECONDS = 10.0  # nothing takes this long, however busy the machine


class Page:
    """An open page: what it got, and what it was closed with."""

    def __init__(self, delivery: Delivery, page: str, session: str, policy: ViewerPolicy | None) -> None:
        self.came: asyncio.Queue[str] = asyncio.Queue()
        self.closed: asyncio.Future[Close] = asyncio.get_running_loop().create_future()
        self.breaks: Exception | None = None
        viewer = Viewer(clock=asyncio.get_running_loop().time, policy=policy)
        wish = Wish(page, session, None)
        self.visitor = Visitor(page, wish, viewer, self._send, self._close, delivery)
        delivery.enter(self.visitor)
        self.visitor.wake()

    async def _send(self, text: str) -> None:
        if self.breaks is not None:
            raise self.breaks
        self.came.put_nowait(text)

    async def _close(self, code: Close) -> None:
        self.closed.set_result(code)

    async def read(self) -> str:
        """The next message, acknowledged."""
        text = await asyncio.wait_for(self.came.get(), SECONDS)
        self.visitor.viewer.acknowledged(int(text.partition('data-no="')[2].partition('"')[0]))
        self.visitor.wake()
        return text

    async def close_code(self) -> Close:
        return await asyncio.wait_for(asyncio.shield(self.closed), SECONDS)


OpenPage = Callable[..., Page]
