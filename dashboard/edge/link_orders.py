"""What a node is ordered over one connection: the desired state, whole, and what waits in the outbox.

a change -> the desired state, if it is newer than what was told   -> noted as sent
         -> what waits in the outbox, as much as there is room for -> taken by the node -> room for more
"""

import asyncio
from collections.abc import Awaitable, Callable

from dashboard.models import Node
from dashboard.runtime import Runtime
from dashboard.services import drain, link, outbox
from meshcore.clock import UtcNow
from meshcore.frames import DescriptorBody, Hello
from meshcore.link import DashboardSide


class Orders:
    """See the module. `write` sends what `side` has; all that is awaited raises what hinders it."""

    def __init__(
        self,
        node: Node,
        runtime: Runtime,
        side: DashboardSide,
        *,
        write: Callable[[], Awaitable[None]],
        now: UtcNow,
    ) -> None:
        self._node = node
        self._runtime = runtime
        self._side = side
        self._write = write
        self._now = now
        self._connection_no = 0  # 0: no handshake yet
        self._told = 0  # the generation that was sent last
        self._has_log = False  # whether runs can be cancelled there
        self._changed = asyncio.Event()

    def begin(self, connection_no: int, hello: Hello, descriptor: DescriptorBody) -> None:
        """Go on behind a handshake: what its descriptor says the node was told."""
        self._connection_no = connection_no
        self._told = descriptor.desired.generation if descriptor.desired else 0
        self._has_log = bool(hello.log_id)

    def wake(self) -> None:
        """Hear that there may be something new."""
        self._changed.set()

    async def changed(self) -> None:
        """Wait until there may be something new."""
        await self._changed.wait()
        self._changed.clear()

    async def note_told(self) -> None:
        """Note what the node was told, if that is anything."""
        if self._told:
            await self._runtime.in_control(
                drain.record_sent, node=self._node, generation=self._told, now=self._now()
            )

    async def send_desired(self) -> None:
        """Send the desired state, if the node wasn't told it."""
        wanted = await self._runtime.in_control(link.desired_of, node=self._node)
        if wanted is None or wanted.generation <= self._told:
            return
        self._side.send_desired(wanted)
        await self._write()
        self._told = wanted.generation
        await self.note_told()

    async def send_waiting(self) -> None:
        """Send what waits in the outbox, to a node that has runs."""
        if not self._has_log:
            return
        orders = await self._runtime.in_control(
            outbox.take, node=self._node, connection_no=self._connection_no, now=self._now()
        )
        for order in orders:
            self._side.send_inbound(order)
        await self._write()

    async def taken(self, buffer_id: str) -> None:
        """Note that the node took an order; there may be room for more."""
        await self._runtime.in_control(
            outbox.acknowledged, node=self._node, buffer_id=buffer_id, now=self._now()
        )
        self.wake()
