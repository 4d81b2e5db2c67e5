"""The disk spool: telemetry waits here until the dashboard has committed it (link-and-telemetry, "Spool").

`append` only remembers: a task of the spool writes what has gathered, in a thread, at most 50 ms later. What
can't be written, because the disk is full or too slow, is dropped and counted, but for some drain steps and
run ends, which wait in memory; the call that made it never notices.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

import msgspec
import structlog

from meshcore import clock as real
from meshcore import spool
from meshcore.aio.segments import SegmentStore
from meshcore.clock import UtcNow
from meshcore.errors import FrameError
from meshcore.frames import Item, SpoolReport, Telemetry
from meshcore.spool import SpoolPolicy
from meshcore.spool_entry import BATCH_MAX_BYTES, Gap, Rank, rank_of, record

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

GATHER_SECONDS = 0.04  # between two writes: each wakes a thread, which costs as much as some calls
RETRY_SECONDS = 1.0  # after a write that failed
GATHERED_MAX = (
    20_000  # items in memory, some 20 MB; what comes while the disk is that slow is dropped and counted
)
KEPT_MAX = 1000  # drain steps and run ends that wait in memory for a disk with room


class SpoolFile:
    """The spool of one node.

    `append` and all else belong on the loop's thread; the home is this process's alone.
    """

    def __init__(self, store: SegmentStore, *, utcnow: UtcNow) -> None:
        self._store = store
        self._utcnow = utcnow
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._gathered: list[Item | Gap] = []
        self._last_seq = store.last_number
        self._report = store.report()
        self._something_gathered = asyncio.Event()
        self._something_stored = asyncio.Event()
        self._in_order = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        self._failing = False

    @classmethod
    def open(
        cls,
        home: Path,
        max_bytes: int = 256 << 20,
        max_items: int = 1_000_000,
        *,
        utcnow: UtcNow = real.utcnow,
    ) -> Self:
        """Open the spool in a node's home, or begin one; a segment is a 64th of the bound. Raises OSError."""
        segment_bytes = min(max(max_bytes // 64, 16 << 10), 1 << 20)
        policy = SpoolPolicy(max_bytes=max_bytes, max_items=max_items, segment_bytes=segment_bytes)
        now_us = int(utcnow().timestamp() * 1e6)
        return cls(SegmentStore(home / "spool", policy, floor=now_us), utcnow=utcnow)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to write; what was appended before is written now."""
        self._writer = self._writer or asyncio.create_task(self._write_on())

    async def close(self) -> None:
        """Write what has gathered and close the files."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])
        await self.flush()
        await self._in_thread(self._store.close, self._last_seq)
        self._thread.shutdown()

    @property
    def spool_id(self) -> str:
        """Return which spool this is."""
        return self._store.spool_id

    @property
    def last_seq(self) -> int:
        """Return the last number that was given out."""
        return self._last_seq

    def append(self, kind: str, item: Item | dict[str, Any]) -> int:
        """Take an item in and return its number; never waits. Raises FrameError when it isn't an item of
        `kind`.

        The number that the item itself carries doesn't count.
        """
        numbered = _numbered(kind, item, self._last_seq + 1)
        self._last_seq += 1
        if len(self._gathered) < GATHERED_MAX + KEPT_MAX * (rank_of(numbered) is Rank.KEPT):
            self._gathered.append(numbered)
        else:
            _drop(self._gathered, numbered)
        self._something_gathered.set()
        return self._last_seq

    async def flush(self) -> None:
        """Wait until what was appended so far is written, or dropped because it couldn't be."""
        async with self._in_order:
            gathered, self._gathered = self._gathered, []
            try:
                await self._in_thread(self._write, gathered)
            except OSError as exc:
                self._take_back(gathered, exc)
            else:
                self._failing = False
        self._something_stored.set()

    async def next_batch(self, after: int, *, max_bytes: int = BATCH_MAX_BYTES) -> Telemetry | None:
        """Return the next frame behind `after`, None when there is nothing."""
        return await self._in_thread(self._store.read, after, max_bytes=max_bytes)

    async def batch_behind(self, after: int, *, max_bytes: int = BATCH_MAX_BYTES) -> Telemetry:
        """Return the next frame behind `after`, as soon as there is one."""
        while True:
            self._something_stored.clear()
            if frame := await self.next_batch(after, max_bytes=max_bytes):
                return frame
            await self._something_stored.wait()

    async def acknowledge(self, to: int) -> None:
        """Forget what the dashboard has committed."""
        await self._in_thread(self._store.acknowledge, to)

    async def resume(self, mark: int) -> None:
        """Take what the dashboard says in a handshake: it has all up to `mark`, and nothing is under way."""
        await self._in_thread(self._store.resume, mark)

    async def take_new_id(self) -> None:
        """Become another spool, as the dashboard asked for (`spool_reset`).

        What came since this process began goes out by the new name; what was here before, the dashboard has.
        """
        await self._in_thread(self._store.take_new_id, self._utcnow())

    def report(self) -> SpoolReport:
        """Return how much waits and what was dropped, as of the last write."""
        dropped, waiting = dict(self._report.dropped), self._report.size
        for entry in self._gathered:
            if isinstance(entry, Gap):
                spool.add(dropped, entry.counts)
            else:
                waiting += 1
        return msgspec.structs.replace(self._report, size=waiting, last_seq=self._last_seq, dropped=dropped)

    async def _write_on(self) -> None:
        while True:
            await self._something_gathered.wait()
            self._something_gathered.clear()
            await asyncio.shield(self.flush())
            if self._failing:
                self._something_gathered.set()
            await asyncio.sleep(RETRY_SECONDS if self._failing else GATHER_SECONDS)

    def _write(self, gathered: list[Item | Gap]) -> None:
        self._store.write([entry if isinstance(entry, Gap) else record(entry) for entry in gathered])

    def _take_back(self, gathered: list[Item | Gap], error: OSError) -> None:
        """Count what couldn't be written, to be written as a gap later; the newest of what is kept waits."""
        kept = [entry for entry in gathered if not isinstance(entry, Gap) and rank_of(entry) is Rank.KEPT]
        waiting = {entry.seq for entry in kept[-KEPT_MAX:]}
        left: list[Item | Gap] = []
        for entry in gathered:
            if not isinstance(entry, Gap) and entry.seq in waiting:
                left.append(entry)
            else:
                _drop(left, entry)
        self._gathered = left + self._gathered
        if not self._failing:
            log.error("spool.write_failed", error=str(error), dropped=len(gathered) - len(waiting))
        self._failing = True

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def call() -> tuple[T, SpoolReport]:
            return function(*args, **kwargs), self._store.report()

        result, self._report = await asyncio.get_running_loop().run_in_executor(self._thread, call)
        return result


def _numbered(kind: str, item: Item | dict[str, Any], seq: int) -> Item:
    if isinstance(item, dict):
        try:
            converted: Item = msgspec.convert(
                {**item, "kind": kind, "seq": seq}, cast(Any, Item), from_attributes=True
            )
        except msgspec.ValidationError as exc:
            raise FrameError(f"{kind} for the spool: {exc}") from exc
        return converted
    if item.__struct_config__.tag != kind:
        raise FrameError(f"{type(item).__name__} for the spool: expected an item of kind {kind!r}")
    return msgspec.structs.replace(item, seq=seq)


def _drop(entries: list[Item | Gap], entry: Item | Gap) -> None:
    """Put a gap where `entry` was; nothing of it was ever sent, so gaps join whatever their kinds."""
    gap = (
        entry if isinstance(entry, Gap) else Gap(entry.seq, entry.seq, {str(entry.__struct_config__.tag): 1})
    )
    spool.append_gap(entries, gap, mixed=True)  # type: ignore[arg-type]  # it looks at gaps alone
