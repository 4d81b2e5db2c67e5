"""What a node said over one connection and that isn't stored yet; how it is stored, and in what order.

Health and telemetry go their own ways, so that a long spool can't make its node look silent.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import takewhile

import msgspec

from dashboard.models import Node
from dashboard.replays import Replay
from dashboard.runtime import Runtime
from dashboard.services.ballast import TelemetryStopped
from dashboard.services.health import Said
from dashboard.services.ingest import Answer
from meshcore.clock import UtcNow
from meshcore.frames import DescriptorBody, Health, Hello, Telemetry
from meshcore.pulse import is_news, newest


class Intake:
    """See the module. `next_health` and `next_telemetry` are called again and again, each by one task."""

    def __init__(self, node: Node, runtime: Runtime, *, now: UtcNow) -> None:
        self.connection_no = 0  # 0: no handshake yet
        self._node = node
        self._runtime = runtime
        self._writer = runtime.writer
        self._now = now
        self._health: Health | None = None  # the newest; an older one that had to wait is merged into it
        self._stored: Health | None = None
        self._telemetry: deque[Telemetry] = deque()  # at most a window
        self._health_came = asyncio.Event()
        self._telemetry_came = asyncio.Event()
        self._replay: Replay | None = None

    def with_turn(self, hello: Hello, descriptor: DescriptorBody) -> DescriptorBody:
        """Return the descriptor with when to begin, for a node that has much to send."""
        self._replay = self._writer.replays.expect(after=descriptor.resume_from, last=hello.spool_last_seq)
        if self._replay is None:
            return descriptor
        return msgspec.structs.replace(descriptor, resume_after_seconds=self._replay.later_seconds)

    def take_health(self, health: Health) -> None:
        """Take what a node says of itself."""
        self._health = newest(self._health, health)
        self._health_came.set()

    def take_telemetry(self, telemetry: Telemetry) -> None:
        """Take a frame."""
        self._telemetry.append(telemetry)
        self._telemetry_came.set()

    def go_on(self) -> None:
        """Try again what there was no room for."""
        self._telemetry_came.set()

    def forget(self) -> None:
        """Forget what waits: the node sends it again."""
        self._telemetry.clear()
        self._health = None

    def void_telemetry(self) -> None:
        """Forget the frames that wait: they came behind a gap."""
        self._telemetry.clear()

    def end(self) -> None:
        """Leave the place among those that replay."""
        if self._replay is not None:
            self._replay.end()

    async def next_health(self) -> bool:
        """Wait for health and store it; False: the connection doesn't count any more.

        Raises what hinders it.
        """
        await self._health_came.wait()
        self._health_came.clear()
        health, self._health = self._health, None
        if health is None:
            return True
        said = Said(
            node=self._node,
            connection_no=self.connection_no,
            health=health,
            now=self._now(),
            every_seconds=self._runtime.health_seconds,
        )
        counts = await self._writer.note_health(said, urgent=is_news(self._stored, health))
        self._stored = health
        return counts

    async def next_telemetry(self) -> list[Answer | BaseException]:
        """Wait for frames, store all that came, and return what to answer to each, or what hinders it."""
        await self._telemetry_came.wait()
        self._telemetry_came.clear()
        if self._runtime.telemetry_stopped:
            return []
        async with AsyncExitStack() as stack:
            if self._replay is not None and self._telemetry:
                await stack.enter_async_context(self._replay.turn())
            frames = [self._telemetry.popleft() for _ in range(len(self._telemetry))]
            answers = await asyncio.gather(*map(self._store, frames), return_exceptions=True)
        return self._without_stopped(frames, answers)

    def _without_stopped(
        self, frames: Sequence[Telemetry], answers: Sequence[Answer | BaseException]
    ) -> list[Answer | BaseException]:
        """Keep frames that there was no room for; not acknowledged, they stay with their node, too."""
        stored = [*takewhile(lambda answer: not isinstance(answer, TelemetryStopped), answers)]
        self._telemetry.extendleft(reversed(frames[len(stored) :]))
        return stored

    async def _store(self, frame: Telemetry) -> Answer:
        return await self._writer.store(
            node=self._node, connection_no=self.connection_no, telemetry=frame, now=self._now()
        )

    def acknowledged(self, to: int) -> None:
        """Note that the node was told so."""
        if self._replay is not None and self._replay.stored(to):
            self._replay = None
