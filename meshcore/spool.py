"""The spool's bookkeeping: what is sent next, and what goes first when there is no room.

The oldest boring traces go first, then all traces; then histograms and transitions are merged
(`meshcore.spool_merge`), and go only when that isn't enough; drain steps and run ends have room of their own
(link-and-telemetry, "Spool"). What goes leaves a gap that counts it.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from meshcore.frames import BATCH_MAX_ITEMS, Telemetry
from meshcore.spool_entry import BATCH_MAX_BYTES, Dropped, Entry, Gap, Rank, Record

TRACES = (Rank.BORING, Rank.TRACE)
LOOSE = (*TRACES, Rank.SIGNAL)
"""The ranks that share `max_bytes`, in the order in which they go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolPolicy:
    """Bounds of a spool."""

    max_bytes: int = 256 << 20  # of items that may be dropped for room, > 0
    max_items: int = 1_000_000  # of the same, > 0
    kept_bytes: int = 16 << 20  # of drain steps and run ends, beside them
    segment_bytes: int = 1 << 20  # of one file

    def __post_init__(self) -> None:
        if min(self.max_bytes, self.max_items, self.kept_bytes, self.segment_bytes) <= 0:
            raise ValueError(f"{self}: expected bounds above 0")


def batch(entries: Iterable[Entry], after: int, *, max_bytes: int = BATCH_MAX_BYTES) -> Telemetry | None:
    """Return the next frame behind `after`, None when there is nothing.

    `entries` are read only as far as needed.
    """
    to, size = after, 0
    items: list[msgspec.Raw] = []
    dropped: Dropped = {}
    for entry in entries:
        if entry.last <= after:
            continue
        if isinstance(entry, Gap):
            add(dropped, missing_behind(entry, after))
        elif len(items) == BATCH_MAX_ITEMS or (items and size + len(entry.body) > max_bytes):
            break
        else:
            items.append(msgspec.Raw(entry.body))
            size += len(entry.body) + 1
        to = entry.last
    return Telemetry(after=after, to=to, items=tuple(items), dropped=dropped) if to > after else None


def missing_behind(gap: Gap, after: int) -> Dropped:
    """Return what of a gap lies behind `after`.

    The mark can stand inside a gap only when items were dropped that had been committed and not acknowledged.
    A gap of one kind, which traces make, is exact then; of a mixed one too much is said rather than too
    little.
    """
    behind = gap.last - max(after, gap.first - 1)
    return {kind: min(count, behind) for kind, count in gap.counts.items()}


def add(into: Dropped, more: Dropped) -> Dropped:
    """Add counts, in place, and return `into`."""
    for kind, count in more.items():
        into[kind] = into.get(kind, 0) + count
    return into


@dataclass(slots=True)
class Tally:
    """What is known of a segment without reading it."""

    first: int = 0
    last: int = 0
    seqs: "array[int]" = field(default_factory=lambda: array("q"))  # of records
    items: list[int] = field(default_factory=lambda: [0] * len(Rank))  # by rank
    bytes: list[int] = field(default_factory=lambda: [0] * len(Rank))
    dropped: Dropped = field(default_factory=dict)  # what its gaps count

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Tally":
        """Return the tally of these entries."""
        tally = cls()
        for entry in entries:
            tally.count(entry)
        return tally

    def count(self, entry: Entry) -> None:
        """Take an entry in; entries come in order."""
        self.first = self.first or entry.first
        self.last = entry.last
        if isinstance(entry, Record):
            self.seqs.append(entry.seq)
            self.items[entry.rank] += 1
            self.bytes[entry.rank] += len(entry.body)
        else:
            add(self.dropped, entry.counts)

    def waiting(self, acknowledged_to: int) -> int:
        """Return how many items lie behind `acknowledged_to`."""
        return len(self.seqs) - bisect_right(self.seqs, acknowledged_to)


@dataclass(frozen=True, slots=True)
class Drop:
    """Drop everything of `rank` from the segment at `index`."""

    index: int
    rank: Rank


@dataclass(slots=True)
class Excess:
    """What is too much; not above 0: nothing is."""

    bytes: int
    items: int = 0

    def is_over(self) -> bool:
        """Return whether something must go."""
        return self.bytes > 0 or self.items > 0

    def drops(self, tallies: Sequence[Tally], ranks: Iterable[Rank]) -> list[Drop]:
        """Return what of these ranks must go, rank by rank, the oldest first, and take it off."""
        found: list[Drop] = []
        for rank in ranks:
            for index, tally in enumerate(tallies):
                if not self.is_over():
                    return found
                if tally.items[rank]:
                    self.bytes -= tally.bytes[rank]
                    self.items -= tally.items[rank]
                    found.append(Drop(index, rank))
        return found


def excess(tallies: Sequence[Tally], policy: SpoolPolicy) -> Excess:
    """Return what of all but drain steps and run ends is beyond the policy's bounds."""
    return Excess(
        sum(tally.bytes[rank] for tally in tallies for rank in LOOSE) - policy.max_bytes,
        sum(tally.items[rank] for tally in tallies for rank in LOOSE) - policy.max_items,
    )


def kept_excess(tallies: Sequence[Tally], policy: SpoolPolicy) -> Excess:
    """Return what of drain steps and run ends is beyond their own bound."""
    return Excess(sum(tally.bytes[Rank.KEPT] for tally in tallies) - policy.kept_bytes)


def small_neighbours(sizes: Sequence[int], *, at_least: int, most_bytes: int) -> tuple[int, int] | None:
    """Return the first [begin, end) of so many files that fit into one together, None when there are none."""
    begin = total = 0
    for end, size in enumerate(sizes, start=1):
        total += size
        while total > most_bytes:
            total -= sizes[begin]
            begin += 1
        if end - begin >= at_least:
            return begin, end
    return None


def join(parts: Iterable[Iterable[Entry]]) -> list[Entry]:
    """Return entries of several files as of one; where numbers were never used is an empty gap."""
    joined: list[Entry] = []
    for entry in (entry for part in parts for entry in part):
        if joined and entry.first > joined[-1].last + 1:
            joined.append(Gap(joined[-1].last + 1, entry.first - 1, {}))
        joined.append(entry)
    return joined


def thin(entries: Iterable[Entry], rank: Rank) -> tuple[list[Entry], Dropped]:
    """Return the entries with gaps where records of `rank` were, and what was dropped by kind."""
    thinned: list[Entry] = []
    dropped: Dropped = {}
    for entry in entries:
        if isinstance(entry, Record) and entry.rank is rank:
            add(dropped, {entry.kind: 1})
            entry = Gap(entry.seq, entry.seq, {entry.kind: 1})
        if isinstance(entry, Gap):
            append_gap(thinned, entry)
        else:
            thinned.append(entry)
    return thinned, dropped


def append_gap(entries: list[Entry], gap: Gap, *, mixed: bool = False) -> None:
    """Append a gap, as one with the gap before it where both are of the same kind, or of none.

    `mixed` joins gaps whatever their kinds: only for what was never sent, so that the mark can't stand
    inside.
    """
    before = entries[-1] if entries else None
    if (
        isinstance(before, Gap)
        and before.last + 1 == gap.first
        and (mixed or (before.counts.keys() == gap.counts.keys() and len(gap.counts) <= 1))
    ):
        entries[-1] = Gap(before.first, gap.last, add(dict(before.counts), gap.counts))
    else:
        entries.append(gap)
