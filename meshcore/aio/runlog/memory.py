"""A log in this process's memory: for tests, and for nodes whose runs may die with them."""

import secrets
from collections.abc import Sequence
from datetime import datetime

from meshcore.aio.runlog.base import END_KEPT, READ_RECORDS, RETENTION, Conflict, OpenRun, Stored
from meshcore.aio.runlog.hub import Feed, Hub, Tail
from meshcore.clock import UtcNow, utcnow
from meshcore.liveness import Beat
from meshcore.run_events import Claimed, End
from meshcore.run_record import EMPTY, Head, Record, encode, end_alone, is_plain

LOG_ID_BYTES = 16


class MemoryLog:
    """See the module; all of it belongs to one event loop."""

    keeps_records = False

    def __init__(self, *, now: UtcNow = utcnow) -> None:
        self.log_id = secrets.token_hex(LOG_ID_BYTES)
        self._now = now
        self._hub = Hub()
        self._runs: dict[str, list[Stored]] = {}
        self._ended_at: dict[str, datetime] = {}
        self._owners: dict[str, str] = {}
        self._beats: dict[tuple[str, str], Beat] = {}

    async def append(self, run_id: str, head: Head, record: Record) -> Head:
        """Store a record behind `head`."""
        encode(record)
        stored = self._runs.get(run_id, [])
        if head != (stored[-1][1] if stored else EMPTY):
            raise Conflict(f"{run_id}: the log doesn't end at {head.seq}")
        new = Head(record.last_seq, len(stored) + 1)
        self._runs.setdefault(run_id, []).append((record, new))
        for event in record.events:
            if isinstance(event, Claimed):
                self._owners[run_id] = event.instance
            elif isinstance(event, End):
                self._ended_at.setdefault(run_id, self._now())
        self._hub.tell(run_id, record, is_plain=is_plain(record))
        return new

    async def read(self, run_id: str, after_seq: int = 0, *, limit: int = READ_RECORDS) -> Sequence[Stored]:
        """Return the next records."""
        stored = self._runs.get(run_id, [])
        return [each for each in stored if each[0].last_seq > after_seq][:limit]

    def tail(self, run_id: str, after_seq: int = 0, *, is_new: bool = False) -> Tail:
        """Return a reader of what stands there and then of what comes."""
        return Tail(self._hub, run_id, after_seq, self.read, is_new=is_new)

    def feed(self) -> Feed:
        """Return a reader of what all runs have beside chunks, from now on."""
        return Feed(self._hub)

    async def open_runs(self) -> Sequence[OpenRun]:
        """Return the runs that have not ended."""
        return [OpenRun(run, self._owners.get(run, "")) for run in self._runs if run not in self._ended_at]

    async def amend(self, run_id: str, end: Head | None) -> None:
        """Do nothing: what is open is no hint here, but written together with what it follows from."""

    async def beat(self, beat: Beat) -> None:
        """Store a sign of life."""
        self._beats[beat.node, beat.instance] = beat

    async def beats(self) -> Sequence[Beat]:
        """Return the last signs of life."""
        return list(self._beats.values())

    async def remove_beat(self, node: str, instance: str) -> None:
        """Forget an instance."""
        self._beats.pop((node, instance), None)

    async def trim(self, now: datetime) -> int:
        """Forget what is past its retention."""
        touched = 0
        for run_id, ended_at in list(self._ended_at.items()):
            stored = self._runs[run_id]
            if now - ended_at >= END_KEPT:
                del self._runs[run_id], self._ended_at[run_id]
                self._owners.pop(run_id, None)
                touched += 1
            elif now - ended_at >= RETENTION and len(stored) > 1:
                self._runs[run_id] = [(end_alone(record), head) for record, head in stored[-1:]]
                touched += 1
        return touched

    async def close(self) -> None:
        """Nothing is open."""
