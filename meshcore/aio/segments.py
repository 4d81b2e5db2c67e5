"""The spool on disk: segment files and a state file; synchronous, for `spool_file` has a thread for it.

    home/spool/state.json                      which spool this is, how far numbers may have been given out
    home/spool/00000000000000000001.segment    entries by their first number; the newest file grows

A segment grows by plain appends, so what is written survives the end of the process at any moment (decision
D13); its torn end is left out when it is read. Everything else is written beside its place and renamed.
"""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from meshcore import spool
from meshcore.aio.atomic_file import replace_file
from meshcore.frames import SpoolReport, Telemetry
from meshcore.spool import Drop, SpoolPolicy, Tally
from meshcore.spool_entry import (
    BATCH_MAX_BYTES,
    UNREADABLE,
    Dropped,
    Entry,
    Gap,
    decode_segment,
    encode_entry,
)

log = structlog.get_logger(__name__)

RESERVE = (
    100_000  # numbers; a killed process leaves at most so many unused, and its successor begins behind them
)
RETIRE_BYTES = 64 << 10  # a growing segment whose items are all acknowledged is given up from this size on


class _State(msgspec.Struct, kw_only=True):
    """What must outlive the segments: `dropped` counts since this spool began."""

    spool_id: str
    reserved_to: int = 0
    dropped: Dropped = {}


@dataclass(slots=True)
class _Segment:
    path: Path
    tally: Tally = field(default_factory=Tally)
    size: int = 0
    descriptor: int | None = None  # open while it grows
    entries: list[Entry] | None = None  # kept in memory while it grows


class SegmentStore:
    """The entries of one spool. Not thread-safe: one thread at a time."""

    def __init__(self, folder: Path, policy: SpoolPolicy) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._policy = policy
        self._loaded: tuple[Path, list[Entry]] | None = None  # the segment that was read last
        self._acknowledged_to = 0
        for draft in folder.glob(".*.draft"):
            draft.unlink()
        self._state = _read_state(folder / "state.json")
        self._segments = [segment for path in sorted(folder.glob("*.segment")) if (segment := _scan(path))]
        stored_to = self._segments[-1].tally.last if self._segments else 0
        self.last_number = max(self._state.reserved_to, stored_to)
        self.reserve(self.last_number)

    @property
    def spool_id(self) -> str:
        """Return which spool this is: numbers mean something only beside it."""
        return self._state.spool_id

    def reserve(self, number: int) -> None:
        """Make sure that numbers up to well behind `number` are never given out again; raises OSError."""
        if number + RESERVE // 2 > self._state.reserved_to:
            self._save(reserved_to=number + RESERVE)

    def write(self, entries: list[Entry]) -> None:
        """Append entries; raises OSError, and then none of them is stored."""
        if not entries:
            return
        self.reserve(entries[-1].last)
        segment = self._growing(entries[0].first)
        self._append(segment, b"".join(map(encode_entry, entries)))
        for entry in entries:
            segment.tally.count(entry)
        segment.entries = (segment.entries or []) + entries
        self._count_drops(entries)
        if segment.size >= self._policy.segment_bytes:
            _retire(segment)
            self._make_room()  # once a file: so the bounds may be passed by what one file holds

    def read(self, after: int, *, max_bytes: int = BATCH_MAX_BYTES) -> Telemetry | None:
        """Return the next frame behind `after`, None when there is nothing."""
        return spool.batch(self._entries_behind(after), after, max_bytes=max_bytes)

    def acknowledge(self, to: int) -> None:
        """Forget what is committed: whole segments, when all of them is."""
        self._acknowledged_to = max(self._acknowledged_to, to)
        while self._segments and self._segments[0].tally.last <= to:
            segment = self._segments[0]
            if segment.descriptor is not None and segment.size < RETIRE_BYTES:
                return
            _retire(segment)
            segment.path.unlink(missing_ok=True)
            self._segments.pop(0)

    def take_new_id(self) -> None:
        """Become another spool with the same content: the dashboard knows ours further than we do."""
        self._acknowledged_to = 0
        self._save(spool_id=uuid.uuid4().hex)

    def report(self) -> SpoolReport:
        """Return how much waits and what was dropped."""
        waiting = sum(segment.tally.waiting(self._acknowledged_to) for segment in self._segments)
        return SpoolReport(size=waiting, last_seq=self.last_number, dropped=dict(self._state.dropped))

    def close(self, last_number: int) -> None:
        """Give up the reserve behind `last_number`, the last one given out, and close the files."""
        for segment in self._segments:
            _retire(segment)
        self._save(reserved_to=last_number)

    def _growing(self, first: int) -> _Segment:
        if not self._segments or self._segments[-1].descriptor is None:
            path = self._folder / f"{first:020d}.segment"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            self._segments.append(_Segment(path, descriptor=descriptor, entries=[]))
        return self._segments[-1]

    def _append(self, segment: _Segment, data: bytes) -> None:
        assert segment.descriptor is not None  # noqa: S101 - `_growing` opened it
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(segment.descriptor, rest) :]
        except OSError:
            os.ftruncate(segment.descriptor, segment.size)  # what of it was written doesn't count
            self._give_up(segment)
            raise
        segment.size += len(data)

    def _give_up(self, segment: _Segment) -> None:
        """Let the next write begin a new file."""
        _retire(segment)
        if not segment.size:
            self._segments.remove(segment)
            segment.path.unlink(missing_ok=True)

    def _entries_behind(self, after: int) -> Iterator[Entry]:
        for segment in self._segments:
            if segment.tally.last > after:
                yield from self._load(segment)

    def _load(self, segment: _Segment) -> list[Entry]:
        if segment.entries is not None:
            return segment.entries
        if self._loaded is None or self._loaded[0] != segment.path:
            self._loaded = segment.path, _read_segment(segment)
        return self._loaded[1]

    def _make_room(self) -> None:
        for drop in spool.what_to_drop([segment.tally for segment in self._segments], self._policy):
            self._thin(drop)

    def _thin(self, drop: Drop) -> None:
        segment = self._segments[drop.index]
        entries, dropped = spool.thin(self._load(segment), drop.rank)
        _retire(segment)
        try:
            replace_file(segment.path, b"".join(map(encode_entry, entries)))
        except OSError as exc:
            log.warning("spool.no_room_made", error=str(exc))
            return
        segment.tally = Tally.of(entries)
        self._loaded = segment.path, entries
        self._save(dropped=spool.add(dict(self._state.dropped), dropped))

    def _count_drops(self, entries: list[Entry]) -> None:
        dropped = dict(self._state.dropped)
        for entry in entries:
            if isinstance(entry, Gap):
                spool.add(dropped, entry.counts)
        if dropped != self._state.dropped:
            self._save(dropped=dropped)

    def _save(self, **changes: object) -> None:
        state = msgspec.structs.replace(self._state, **changes)
        replace_file(self._folder / "state.json", msgspec.json.encode(state))
        self._state = state


def _read_state(path: Path) -> _State:
    """Return the stored state.

    A spool whose state is lost becomes another one, for its numbers can't be trusted.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State)
    except FileNotFoundError:
        return _State(spool_id=uuid.uuid4().hex)
    except msgspec.DecodeError as exc:
        log.error("spool.state_lost", path=str(path), error=str(exc))
        return _State(spool_id=uuid.uuid4().hex)


def _scan(path: Path) -> _Segment | None:
    """Return what a file has, None (and the file is gone) when it has nothing."""
    data = path.read_bytes()
    entries = decode_segment(data)
    if not entries:
        path.unlink()
        return None
    return _Segment(path, Tally.of(entries), len(data))


def _read_segment(segment: _Segment) -> list[Entry]:
    """Return the entries of a file.

    One that can't be read any more is a gap, else nothing behind it would be sent.
    """
    try:
        return decode_segment(segment.path.read_bytes())
    except OSError as exc:
        log.error("spool.segment_lost", path=str(segment.path), error=str(exc))
        return [Gap(segment.tally.first, segment.tally.last, {UNREADABLE: len(segment.tally.seqs)})]


def _retire(segment: _Segment) -> None:
    """Let a segment grow no more."""
    if segment.descriptor is not None:
        os.close(segment.descriptor)
    segment.descriptor = segment.entries = None
