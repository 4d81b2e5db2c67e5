"""The spool of a simulated node: bounded, and honest about what it dropped."""

import asyncio
import itertools

import pytest

from meshcore.aio.simulation.memory_spool import MemorySpool
from meshcore.frames import DrainStepItem, Item, TraceItem
from meshcore.spool_entry import ITEM_MAX_BYTES
from meshcore.testing import START
from meshcore.trace import RoutingTrace


def spool_of(max_items: int) -> MemorySpool:
    ids = (f"spool-{n}" for n in itertools.count(1))
    return MemorySpool(max_items=max_items, make_id=lambda: next(ids))


def trace(*, message: str = "") -> Item:
    call = RoutingTrace(trace_id="t", capability="llm.chat", started_at=START, message=message)
    return TraceItem(seq=0, at=START, trace=call)


def step() -> Item:
    return DrainStepItem(seq=0, at=START, generation=1, step="gate_closed")


async def test_what_was_appended_is_numbered_and_sent_in_order() -> None:
    spool = spool_of(10)
    assert [spool.append("trace", trace()) for _ in range(3)] == [1, 2, 3]

    frame = await spool.batch_behind(1)

    assert (frame.after, frame.to, len(frame.items)) == (1, 3, 2)


async def test_what_is_acknowledged_is_forgotten() -> None:
    spool = spool_of(10)
    for _ in range(3):
        spool.append("trace", trace())

    await spool.acknowledge(2)

    assert spool.report().size == 1
    assert spool.acknowledged_to == 2
    assert (await spool.batch_behind(2)).to == 3


async def test_a_handshake_forgets_what_the_dashboard_has_and_brings_nothing_back() -> None:
    spool = spool_of(10)
    for _ in range(3):
        spool.append("trace", trace())

    await spool.resume(2)
    await spool.resume(1)

    assert spool.report().size == 1
    assert spool.acknowledged_to == 2


async def test_who_asks_too_early_waits_for_the_next_item() -> None:
    spool = spool_of(10)
    asked = asyncio.create_task(spool.batch_behind(0))
    await asyncio.sleep(0)
    assert not asked.done()

    spool.append("trace", trace())

    assert (await asked).to == 1


async def test_at_the_bound_the_oldest_goes_and_is_counted_once() -> None:
    spool = spool_of(2)
    for item in (trace(), step(), trace(), trace()):
        spool.append("any", item)

    frame = await spool.batch_behind(0)
    assert frame.dropped == {"trace": 1, "drain_step": 1}
    assert (frame.to, len(frame.items)) == (4, 2)
    assert spool.report().dropped == {"trace": 1, "drain_step": 1}

    await spool.acknowledge(4)
    spool.append("trace", trace())
    assert (await spool.batch_behind(4)).dropped == {}


async def test_a_mark_inside_the_gap_leaves_what_lies_behind_it() -> None:
    spool = spool_of(1)
    for _ in range(4):
        spool.append("trace", trace())

    await spool.acknowledge(2)

    assert (await spool.batch_behind(2)).dropped == {"trace": 1}


async def test_what_no_frame_could_carry_is_dropped_at_once() -> None:
    spool = spool_of(10)

    spool.append("trace", trace(message="x" * ITEM_MAX_BYTES))

    assert (await spool.batch_behind(0)).dropped == {"trace": 1}


async def test_a_new_id_keeps_the_content() -> None:
    spool = spool_of(10)
    spool.append("trace", trace())

    await spool.take_new_id()

    assert spool.spool_id == "spool-2"
    assert spool.report().size == 1


def test_a_dict_is_no_item() -> None:
    with pytest.raises(TypeError, match="expected an item"):
        spool_of(1).append("trace", {"kind": "trace"})
