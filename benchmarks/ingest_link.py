"""One turn of ours, with the dashboard's environment (see ingest.py).

python -m benchmarks.ingest_link SECONDS
"""

import asyncio
import json
import logging
import os
import sys
import time
import uuid
from collections import deque
from dataclasses import asdict
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
django.setup()

from asgiref.sync import sync_to_async  # noqa: E402

from benchmarks.ingest_items import FRAME_ITEMS, line  # noqa: E402
from benchmarks.load import in_ms  # noqa: E402
from benchmarks.rounds import Sample  # noqa: E402
from dashboard import runtime  # noqa: E402
from dashboard.edge.link_session import LinkSession  # noqa: E402
from dashboard.models import Node  # noqa: E402
from dashboard.services import nodes  # noqa: E402
from dashboard.services.actor import SYSTEM  # noqa: E402
from meshcore import framing  # noqa: E402
from meshcore.capability import Manifest  # noqa: E402
from meshcore.clock import utcnow  # noqa: E402
from meshcore.frames import WINDOW, Hello, TelemetryAck  # noqa: E402

NODES = 16
LOOK_SECONDS = 0.01


class Sender:
    """A node with more to say than the window takes."""

    def __init__(self, node: Node, running: runtime.Runtime, number: int) -> None:
        self.acknowledged = 0
        self.taken: list[float] = []
        self.goes_on = True
        self.failure = ""
        self._number = number
        self._node = node
        self._after = 0
        self._sent: deque[float] = deque()
        self._reader = framing.reader_from_dashboard()
        self._answered = asyncio.Event()
        self._session = LinkSession(node, running, send=self._hear, close=self._closed)

    async def greet(self) -> None:
        """Shake hands."""
        manifest = Manifest(node_id=self._node.name)
        hello = Hello(
            node_id=self._node.name,
            instance_id=uuid.uuid4().hex,
            spool_id=uuid.uuid4().hex,
            clock=utcnow(),
            manifest=manifest,
        )
        await self._session.receive(framing.encode(hello))

    async def send(self) -> None:
        """Send until told to stop, then wait for what is under way."""
        while self._sent or self.goes_on:
            while self.goes_on and len(self._sent) < WINDOW:
                self._sent.append(time.perf_counter())
                frame = line(self._after, node=self._number)
                self._after += FRAME_ITEMS
                await self._session.receive(frame)
            self._answered.clear()
            await self._answered.wait()
            if self.failure:
                raise RuntimeError(self.failure)
        await self._session.end()

    async def _hear(self, said: bytes) -> None:
        for frame in self._reader.read(said):
            if isinstance(frame, TelemetryAck):
                if frame.refused:
                    self.failure = f"refused: {frame.refused[0]}"
                self.acknowledged += FRAME_ITEMS
                self.taken.append(time.perf_counter() - self._sent.popleft())
                self._answered.set()

    async def _closed(self, closing: Any) -> None:
        self.failure = f"closed: {closing}"
        self._answered.set()


async def _until_stored(seconds: float, senders: "list[Sender]", sending: "list[asyncio.Task[None]]") -> int:
    """Wait for so long and until something was acknowledged; return how much. Raises what a sender raises."""
    before, begin = sum(sender.acknowledged for sender in senders), time.perf_counter()
    while True:
        left = seconds - (time.perf_counter() - begin)
        done, _ = await asyncio.wait(
            sending, timeout=max(left, LOOK_SECONDS), return_when=asyncio.FIRST_EXCEPTION
        )
        for task in done:
            task.result()
        count = sum(sender.acknowledged for sender in senders) - before
        if count and time.perf_counter() - begin >= seconds:
            return count


async def turn(seconds: float) -> Sample:
    """Send for so long, behind a first moment that isn't counted."""
    names = [f"bench-{number}-{uuid.uuid4().hex[:8]}" for number in range(NODES)]
    made = [await sync_to_async(nodes.add)(name=name, actor=SYSTEM) for name in names]
    async with runtime.running(jobs=()) as running:
        senders = [Sender(node, running, number) for number, (node, _) in enumerate(made)]
        for sender in senders:
            await sender.greet()
        sending = [asyncio.create_task(sender.send()) for sender in senders]
        await _until_stored(seconds / 4, senders, sending)
        heard = [len(sender.taken) for sender in senders]
        begin, cpu_begin = time.perf_counter(), time.process_time()
        count = await _until_stored(seconds, senders, sending)
        passed, cpu = time.perf_counter() - begin, time.process_time() - cpu_begin
        taken = [each for sender, from_ in zip(senders, heard, strict=True) for each in sender.taken[from_:]]
        for sender in senders:
            sender.goes_on = False
        await asyncio.gather(*sending)
    p50_ms, p99_ms = in_ms(taken)
    return Sample(count=count, seconds=passed, cpu_seconds=cpu, p50_ms=p50_ms, p99_ms=p99_ms)


if __name__ == "__main__":
    logging.disable(logging.INFO)
    print(json.dumps(asdict(asyncio.run(turn(float(sys.argv[1]))))))
