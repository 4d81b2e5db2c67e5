"""What a full spool says shorter: transitions of one breaker as one, histograms of one minute added up.

Roll-ups are kept by the minute, so added histograms lose nothing there; of transitions the first state, the
last one and their count are left (link-and-telemetry, "Spool"). Only what was surely never sent is merged:
else the dashboard might have the earlier one already, and would count it again with the later one.
"""

from collections.abc import Hashable, Iterable
from typing import Any

import msgspec

from meshcore import framing
from meshcore.errors import FrameError
from meshcore.frames import HistogramItem, TransitionItem
from meshcore.spool import append_gap
from meshcore.spool_entry import ITEM_MAX_BYTES, Entry, Gap, Rank, Record

COUNT_MAX = (1 << 31) - 1  # of `meshcore.frames.Count`

Signal = HistogramItem | TransitionItem


def merge(entries: Iterable[Entry], *, behind: int) -> list[Entry]:
    """Return the entries with the signals behind number `behind` merged into the last one of their key.

    Where an earlier one was is an empty gap: it isn't lost, so nothing is counted.
    """
    merged = list(entries)
    newest: dict[Hashable, tuple[int, Signal]] = {}
    for index, entry in enumerate(merged):
        signal = _signal(entry) if entry.first > behind else None
        if signal is None:
            continue
        earlier_index, earlier = newest.get(key_of(signal), (index, None))
        if earlier is not None and (one := _one(earlier, signal)):
            merged[earlier_index] = Gap(merged[earlier_index].first, merged[earlier_index].last, {})
            merged[index], signal = _entry(one), one
        newest[key_of(signal)] = index, signal
    return _gaps_joined(merged)


def key_of(signal: Signal) -> Hashable:
    """Return what signals must have in common to become one."""
    if isinstance(signal, TransitionItem):
        return signal.key
    minute = signal.at.replace(second=0, microsecond=0)
    return minute, signal.provider, signal.capability, signal.outcome, signal.histogram_version


def _one(earlier: Any, later: Signal) -> Signal | None:
    """Return both as one, with the number of the later; None when that were more than an item may hold."""
    if isinstance(later, TransitionItem):
        most = earlier.count + later.count
        one: Signal = msgspec.structs.replace(later, from_state=earlier.from_state, count=most)
    else:
        counts = dict(earlier.counts)
        for bucket, count in later.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        failovers = earlier.failovers + later.failovers
        most = max(failovers, *counts.values(), 0)
        one = msgspec.structs.replace(later, counts=counts, failovers=failovers)
    return one if most <= COUNT_MAX and len(framing.encode_item(one)) <= ITEM_MAX_BYTES else None


def _signal(entry: Entry) -> Signal | None:
    if not isinstance(entry, Record) or entry.rank is not Rank.SIGNAL:
        return None
    try:
        item = framing.decode_item(entry.body)
    except FrameError:  # of another version of the node: it stays as it is
        return None
    return item if isinstance(item, Signal) else None


def _entry(signal: Signal) -> Record:
    kind = str(signal.__struct_config__.tag)
    return Record(signal.seq, Rank.SIGNAL, kind, framing.encode_item(signal))


def _gaps_joined(entries: list[Entry]) -> list[Entry]:
    joined: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Gap):
            append_gap(joined, entry)
        else:
            joined.append(entry)
    return joined
