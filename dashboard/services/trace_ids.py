"""Database ids of traces: order of ids is order of time (dashboard.md, "Traces at size").

    id = milliseconds << 20 | slot of the process (6 bits) | counter (14 bits)

The highest stored id is read again for every batch, in the transaction that stores it: so ids never fall, not
even when the clock does or another process was faster, and nothing needs to be remembered. Nor is a slot:
where several processes store, each transaction takes one that is free, and the database takes it back.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from django.db import connection

COUNTER_BITS = 14
SLOT_BITS = 6
SLOT_EMBEDDED = 0  # where one process writes at a time
SLOT_LOCK = 0x736C6F74  # PostgreSQL: the first half of the advisory locks that stand for slots


def claim_slot() -> int:
    """Return a slot that no other transaction has while this one lasts; read the highest id behind it.

    The 64th transaction at a time waits for the last slot, as for any other lock.
    """
    if connection.vendor != "postgresql":
        return SLOT_EMBEDDED
    free = f"SELECT slot FROM generate_series(1, {(1 << SLOT_BITS) - 1}) slot"  # noqa: S608 - a constant
    with connection.cursor() as cursor:
        cursor.execute(f"{free} WHERE pg_try_advisory_xact_lock(%s, slot) LIMIT 1", [SLOT_LOCK])
        found = cursor.fetchone()
        if found is None:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [SLOT_LOCK, SLOT_EMBEDDED])
    return found[0] if found else SLOT_EMBEDDED


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
