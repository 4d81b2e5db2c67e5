"""The spool on disk: segment files and a state file; synchronous, for `spool_file` has a thread for it.

    home/spool/state.json                      which spool this is, how far numbers may have been given out
    home/spool/00000000000000000001.segment    entries by their first number; the newest file grows

A segment grows by plain appends, so what is written survives the end of the process at any moment (decision
D13); its torn end is left out when it is read. Everything else is written beside its place and renamed.

Numbers go on behind the present in microseconds when a spool is opened again. So a disk that was set back to
an older copy never gives out a number a second time, and the dashboard's mark stays true for it.
"""

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from meshcore import spool, spool_merge
from meshcore.aio.atomic_file import replace_file
from meshcore.aio.segment_file import Segment, scan
from meshcore.frames import SpoolReport, Telemetry
from meshcore.spool import Drop, Excess, SpoolPolicy, Tally
from meshcore.spool_entry import BATCH_MAX_BYTES, Dropped, Entry, Gap, Rank

log = structlog.get_logger(__name__)

RESERVE = 100_000  # numbers; a killed process leaves at most so many unused, its successor begins behind
RETIRE_BYTES = 64 << 10  # a growing segment whose items are all acknowledged is given up from this size on
JOINED = 16  # files that became small become one: weeks without a dashboard would leave a million of them


class _State(msgspec.Struct, kw_only=True):
    """What must outlive the segments: `dropped` counts since this spool began.

    `acknowledged_to` may be behind the truth, as it is written only with the rest.
    """

    spool_id: str
    reserved_to: int = 0
    acknowledged_to: int = 0
    dropped: Dropped = {}
    reset_at: datetime | None = None  # when the dashboard found this disk to be an older copy


class SegmentStore:
    """The entries of one spool. Not thread-safe: one thread at a time."""

    def __init__(self, folder: Path, policy: SpoolPolicy, *, floor: int = 0) -> None:
        """Open the spool in `folder`, or begin one; an old one goes on behind number `floor`.

        Raises OSError when the files can't be read. A full disk is none of that: nothing is stored then.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._policy = policy
        self._loaded: tuple[Path, list[Entry]] | None = None  # the segment that was read last
        for draft in folder.glob(".*.draft"):
            draft.unlink()
        self._state, is_new = _read_state(folder / "state.json")
        self._segments = scan(folder)
        stored_to = self._segments[-1].tally.last if self._segments else 0
        self.last_number = max(self._state.reserved_to, stored_to, 0 if is_new else floor)
        self._found_to = self.last_number  # what was here when it was opened
        self._sent_to = self._found_to  # what may have been sent and not been answered
        self._acknowledged_to = 0
        self.acknowledge(self._state.acknowledged_to)
        try:
            self.reserve(self.last_number)
        except OSError as exc:
            log.error("spool.write_failed", error=str(exc))

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
        try:
            segment.append(entries)
        except OSError:
            self._give_up(segment)
            raise
        self._note_drops(entry.counts for entry in entries if isinstance(entry, Gap))
        if segment.size >= self._policy.segment_bytes:
            segment.retire()
            self._make_room()  # once a file: so the bounds may be passed by what one file holds

    def read(self, after: int, *, max_bytes: int = BATCH_MAX_BYTES) -> Telemetry | None:
        """Return the next frame behind `after`, None when there is nothing."""
        frame = spool.batch(self._entries_behind(after), after, max_bytes=max_bytes)
        if frame is not None:
            self._sent_to = max(self._sent_to, frame.to)
        return frame

    def resume(self, mark: int) -> None:
        """Take what the dashboard says in a handshake: it has all up to `mark`, and nothing is under way."""
        self._sent_to = self._acknowledged_to = mark
        self.acknowledge(mark)

    def acknowledge(self, to: int) -> None:
        """Forget what is committed: whole segments, when all of them is."""
        self._acknowledged_to = max(self._acknowledged_to, to)
        while self._segments and self._segments[0].tally.last <= to:
            segment = self._segments[0]
            if segment.descriptor is not None and segment.size < RETIRE_BYTES:
                return
            segment.retire()
            segment.path.unlink(missing_ok=True)
            self._segments.pop(0)

    def take_new_id(self, at: datetime) -> None:
        """Become another spool: the dashboard knows ours further than we do, so our disk is an older copy.

        What was on it is stored there, under numbers below the mark. What came since goes out by the new
        name. Raises OSError, and is the same spool then.
        """
        self._save(spool_id=uuid.uuid4().hex, acknowledged_to=self._found_to, reset_at=at)
        self._sent_to = self._found_to
        self.acknowledge(self._found_to)

    def report(self) -> SpoolReport:
        """Return how much waits and what was dropped."""
        return SpoolReport(
            size=sum(segment.tally.waiting(self._acknowledged_to) for segment in self._segments),
            last_seq=self.last_number,
            dropped=dict(self._state.dropped),
            reset_at=self._state.reset_at,
        )

    def close(self, last_number: int) -> None:
        """Give up the reserve behind `last_number`, the last one given out, and close the files."""
        for segment in self._segments:
            segment.retire()
        self._try_to_save(reserved_to=last_number)

    def _growing(self, first: int) -> Segment:
        if not self._segments or self._segments[-1].descriptor is None:
            self._segments.append(Segment.begun(self._folder, first))
        return self._segments[-1]

    def _give_up(self, segment: Segment) -> None:
        """Let the next write begin a new file."""
        segment.retire()
        if not segment.size:
            self._segments.remove(segment)
            segment.path.unlink(missing_ok=True)

    def _entries_behind(self, after: int) -> Iterator[Entry]:
        for segment in self._segments:
            if segment.tally.last > after:
                yield from self._load(segment)

    def _load(self, segment: Segment) -> list[Entry]:
        if segment.entries is not None:
            return segment.entries
        if self._loaded is None or self._loaded[0] != segment.path:
            self._loaded = segment.path, segment.read()
        return self._loaded[1]

    def _make_room(self) -> None:
        """Let go of what must go; a disk that is too full even for that keeps everything for now."""
        try:
            self._carry_out(self._excess(), spool.TRACES)
            self._merge_signals()
            self._carry_out(self._excess(), (Rank.SIGNAL,))
            self._carry_out(spool.kept_excess(self._tallies(), self._policy), (Rank.KEPT,))
            self._join_small()
        except OSError as exc:
            log.warning("spool.no_room_made", error=str(exc))

    def _tallies(self) -> list[Tally]:
        return [segment.tally for segment in self._segments]

    def _excess(self) -> Excess:
        return spool.excess(self._tallies(), self._policy)

    def _carry_out(self, excess: Excess, ranks: Iterable[Rank]) -> None:
        for drop in excess.drops(self._tallies(), ranks):
            self._thin(drop)

    def _thin(self, drop: Drop) -> None:
        segment = self._segments[drop.index]
        entries, dropped = spool.thin(self._waiting_in(segment), drop.rank)
        self._rewrite(segment, entries)
        self._note_drops([dropped])

    def _merge_signals(self) -> None:
        """Merge file by file, oldest first, as long as there is too much."""
        excess = self._excess()
        for segment in self._segments:
            if not excess.is_over():
                return
            if self._may_be_merged(segment):
                before = segment.tally
                self._rewrite(segment, spool_merge.merge(self._waiting_in(segment), behind=self._sent_to))
                segment.merged = before.first > self._sent_to
                excess.bytes -= sum(before.bytes) - sum(segment.tally.bytes)
                excess.items -= sum(before.items) - sum(segment.tally.items)

    def _may_be_merged(self, segment: Segment) -> bool:
        was_sent = segment.tally.last <= self._sent_to
        return segment.tally.items[Rank.SIGNAL] > 1 and not segment.merged and not was_sent

    def _join_small(self) -> None:
        sizes = [segment.size for segment in self._segments]
        found = spool.small_neighbours(sizes, at_least=JOINED, most_bytes=self._policy.segment_bytes)
        if found is None:
            return
        first, *others = self._segments[slice(*found)]
        entries = spool.join([self._waiting_in(segment) for segment in (first, *others)])
        self._rewrite(first, entries)
        first.merged = False
        for segment in others:  # who ends here leaves files behind that the next one knows by their numbers
            segment.path.unlink(missing_ok=True)
            self._segments.remove(segment)

    def _waiting_in(self, segment: Segment) -> list[Entry]:
        """Return what of a segment isn't acknowledged."""
        return [entry for entry in self._load(segment) if entry.last > self._acknowledged_to]

    def _rewrite(self, segment: Segment, entries: list[Entry]) -> None:
        segment.rewrite(entries)
        self._loaded = segment.path, entries

    def _note_drops(self, drops: Iterable[Dropped]) -> None:
        dropped = dict(self._state.dropped)
        for counts in drops:
            spool.add(dropped, counts)
        if dropped != self._state.dropped:
            self._try_to_save(dropped=dropped)

    def _try_to_save(self, **changes: object) -> None:
        """Save what a full disk may keep us from saving: it is known here, and what counts is in segments."""
        try:
            self._save(**changes)
        except OSError as exc:
            log.warning("spool.state_not_saved", error=str(exc))
            self._state = msgspec.structs.replace(self._state, **changes)

    def _save(self, **changes: object) -> None:
        known = {"acknowledged_to": self._acknowledged_to} | changes
        state = msgspec.structs.replace(self._state, **known)
        replace_file(self._folder / "state.json", msgspec.json.encode(state))
        self._state = state


def _read_state(path: Path) -> tuple[_State, bool]:
    """Return the stored state, and whether there was none.

    A spool whose state is lost becomes another one, for its numbers can't be trusted.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State), False
    except FileNotFoundError:
        return _State(spool_id=uuid.uuid4().hex), True
    except msgspec.DecodeError as exc:
        log.error("spool.state_lost", path=str(path), error=str(exc))
        return _State(spool_id=uuid.uuid4().hex), False
