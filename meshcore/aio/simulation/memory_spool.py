"""A spool in memory: as the one on disk for whoever sends it, but gone with its process.

At its bound the oldest item goes, whatever it is; all that went is one gap in front, counted by kind.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from meshcore import spool
from meshcore.frames import Item, SpoolReport, Telemetry
from meshcore.spool_entry import BATCH_MAX_BYTES, Gap, Record, record


class MemorySpool:
    """Holds up to `max_items` items; `make_id` names a spool, and names it anew on the dashboard's wish."""

    def __init__(self, *, max_items: int, make_id: Callable[[], str]) -> None:
        self._max_items = max_items
        self._make_id = make_id
        self.spool_id = make_id()
        self.last_seq = 0
        self.acknowledged_to = 0
        self._gone: Gap | None = None
        self._held: deque[Record] = deque()
        self._dropped: dict[str, int] = {}
        self._something_held = asyncio.Event()

    def append(self, kind: str, item: Item | dict[str, Any]) -> int:
        """Take an item in and return its number; raises TypeError for one that is a dict."""
        if isinstance(item, dict):
            raise TypeError(f"a {kind} as dict: expected an item")
        self.last_seq += 1
        entry = record(msgspec.structs.replace(item, seq=self.last_seq))
        if isinstance(entry, Record):
            self._held.append(entry)
        else:
            self._let_go(entry)
        if len(self._held) > self._max_items:
            oldest = self._held.popleft()
            self._let_go(Gap(oldest.seq, oldest.seq, {oldest.kind: 1}))
        self._something_held.set()
        return self.last_seq

    def _let_go(self, gap: Gap) -> None:
        spool.add(self._dropped, gap.counts)
        before = self._gone
        if before is not None:
            gap = Gap(before.first, gap.last, spool.add(dict(before.counts), gap.counts))
        self._gone = gap

    async def batch_behind(self, after: int, *, max_bytes: int = BATCH_MAX_BYTES) -> Telemetry:
        """Return the next frame behind `after`, as soon as there is one."""
        while True:
            self._something_held.clear()
            front = () if self._gone is None else (self._gone,)
            frame = spool.batch(itertools.chain(front, self._held), after, max_bytes=max_bytes)
            if frame is not None:
                return frame
            await self._something_held.wait()

    async def acknowledge(self, to: int) -> None:
        """Forget what the dashboard has committed."""
        self.acknowledged_to = max(self.acknowledged_to, to)
        while self._held and self._held[0].seq <= to:
            self._held.popleft()
        if self._gone is not None:
            left = spool.missing_behind(self._gone, to)
            self._gone = Gap(to + 1, self._gone.last, left) if self._gone.last > to else None

    async def resume(self, mark: int) -> None:
        """Take what the dashboard says in a handshake; what was forgotten stays so, whatever its mark."""
        await self.acknowledge(mark)

    async def take_new_id(self) -> None:
        """Become another spool with the same content."""
        self.spool_id = self._make_id()

    def report(self) -> SpoolReport:
        """Return how much waits and what was dropped."""
        return SpoolReport(size=len(self._held), last_seq=self.last_seq, dropped=dict(self._dropped))
