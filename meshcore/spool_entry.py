"""What a spool is made of: entries, each a line of a segment file.

A record is an item with its number. A gap is a run of numbers whose items were dropped, with their count by
kind: so each drop has a place in the order of numbers, travels with the batch that covers this place, and is
counted once, like an item. A line begins with its CRC; what a killed process left half written doesn't match.

    line    = crc32 SP (record | gap) LF        crc32: 8 hex digits over what follows the space, without LF
    record  = seq SP rank SP kind SP item
    gap     = first "-" last SP {"kind": count, …}
"""

import enum
import zlib

import msgspec

from meshcore import framing
from meshcore.frames import FRAME_MAX_BYTES, HistogramItem, Item, TraceItem, TransitionItem

ENVELOPE_BYTES = 4096  # of a telemetry frame, beside its items
BATCH_MAX_BYTES = FRAME_MAX_BYTES - ENVELOPE_BYTES
ITEM_MAX_BYTES = BATCH_MAX_BYTES // 2  # a bigger item is dropped and counted
UNREADABLE = "unreadable"  # the kind of what a broken disk made of items

Dropped = dict[str, int]
"""Kind of item -> how many were dropped."""


class Rank(enum.IntEnum):
    """What an item is worth when there is no room: the lowest goes first."""

    BORING = 0  # a call that went well at the first attempt
    TRACE = 1
    SIGNAL = 2  # histograms, transitions
    KEPT = 3  # drain steps, run ends


class Record(msgspec.Struct, frozen=True, gc=False):
    """An item in the spool; `body` is its JSON as it is sent."""

    seq: int
    rank: Rank
    kind: str
    body: bytes

    @property
    def first(self) -> int:
        """Return its number, as a gap has a first one."""
        return self.seq

    @property
    def last(self) -> int:
        """Return its number, as a gap has a last one."""
        return self.seq


class Gap(msgspec.Struct, frozen=True):
    """Numbers from `first` to `last` of which nothing is left but counts."""

    first: int
    last: int
    counts: Dropped


Entry = Record | Gap


def record(item: Item) -> Record | Gap:
    """Return the entry of a numbered item; one that no frame could carry is a gap from the start."""
    kind = str(item.__struct_config__.tag)
    body = framing.encode_item(item)
    if len(body) > ITEM_MAX_BYTES:
        return Gap(item.seq, item.seq, {kind: 1})
    return Record(item.seq, rank_of(item), kind, body)


def rank_of(item: Item) -> Rank:
    """Return what an item is worth."""
    match item:
        case TraceItem(trace=trace):
            return Rank.BORING if trace.outcome == "ok" and len(trace.attempts) <= 1 else Rank.TRACE
        case HistogramItem() | TransitionItem():
            return Rank.SIGNAL
        case _:
            return Rank.KEPT


def encode_entry(entry: Entry) -> bytes:
    """Return the line of an entry, with its end."""
    if isinstance(entry, Record):
        text = b"%d %d %s %s" % (entry.seq, entry.rank, entry.kind.encode(), entry.body)
    else:
        text = b"%d-%d %s" % (entry.first, entry.last, msgspec.json.encode(entry.counts))
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode_entry(line: bytes) -> Entry | None:
    """Return the entry of a line without its end, or None when it is not whole."""
    crc, _, text = line.partition(b" ")
    if crc != b"%08x" % zlib.crc32(text):
        return None
    head, _, rest = text.partition(b" ")
    if b"-" in head:
        first, _, last = head.partition(b"-")
        return Gap(int(first), int(last), msgspec.json.decode(rest, type=Dropped))
    rank, kind, body = rest.split(b" ", 2)
    return Record(int(head), Rank(int(rank)), kind.decode(), body)


def decode_segment(data: bytes) -> list[Entry]:
    """Return the entries of a file: a torn end is left out, an unreadable line in the middle is a gap."""
    entries: list[Entry] = []
    for line in data.split(b"\n"):
        entry = decode_entry(line)
        if entry is None:
            continue
        if entries and entry.first > entries[-1].last + 1:
            lost = Gap(
                entries[-1].last + 1, entry.first - 1, {UNREADABLE: entry.first - entries[-1].last - 1}
            )
            entries.append(lost)
        entries.append(entry)
    return entries
