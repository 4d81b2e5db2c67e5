"""Database ids of traces: order of ids is order of time (dashboard.md, "Traces at size").

    id = milliseconds << 20 | slot of the process (6 bits) | counter (14 bits)

The highest stored id is read again for every batch, in the transaction that stores it: so ids never fall, not
even when the clock does or another process was faster, and nothing needs to be remembered.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

COUNTER_BITS = 14
SLOT_BITS = 6
SLOT_EMBEDDED = 0  # of the only process there is


def allocate(count: int, *, now: datetime, highest: int, slot: int = SLOT_EMBEDDED) -> list[int]:
    """Return `count` rising ids above `highest`, 0 when none is stored; raises ValueError for no such slot.

    A batch begins in a millisecond of its own, so two processes can't mix theirs up; at 16 384 ids a
    millisecond time is borrowed from the future.
    """
    if not 0 <= slot < 1 << SLOT_BITS:
        raise ValueError(f"slot={slot!r}: expected 0 to {(1 << SLOT_BITS) - 1}")
    present = int(now.timestamp() * 1000)
    first = max(present, (highest >> (SLOT_BITS + COUNTER_BITS)) + 1 if highest else 0)
    return list(islice(_ids_from(first, slot), count))


def _ids_from(milliseconds: int, slot: int) -> Iterator[int]:
    while True:
        base = (milliseconds << SLOT_BITS | slot) << COUNTER_BITS
        yield from range(base, base + (1 << COUNTER_BITS))
        milliseconds += 1
