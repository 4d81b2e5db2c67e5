"""Entries of a spool and their lines."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.breaker import BreakerState
from meshcore.frames import DrainStepItem, HistogramItem, Item, RunEndItem, TraceItem, TransitionItem
from meshcore.spool_entry import (
    ITEM_MAX_BYTES,
    UNREADABLE,
    Entry,
    Gap,
    Rank,
    Record,
    decode_entry,
    decode_segment,
    encode_entry,
    rank_of,
    record,
)
from meshcore.trace import Attempt, RoutingTrace

AT = datetime(2026, 1, 1, tzinfo=UTC)


def trace_item(*, seq: int = 1, outcome: str = "ok", attempts: int = 1, message: str = "") -> TraceItem:
    tries = tuple(Attempt(n=n, node="node-a", provider="alpha") for n in range(1, attempts + 1))
    trace = RoutingTrace(
        trace_id="t1",
        capability="llm.chat",
        started_at=AT,
        outcome=outcome,
        attempts=tries,
        message=message,
    )
    return TraceItem(seq=seq, at=AT, trace=trace)


def segment(*entries: Entry) -> bytes:
    return b"".join(encode_entry(entry) for entry in entries)


@pytest.mark.parametrize(
    ("item", "rank"),
    [
        (trace_item(), Rank.BORING),
        (trace_item(attempts=2), Rank.TRACE),
        (trace_item(outcome="error"), Rank.TRACE),
        (
            HistogramItem(seq=1, at=AT, provider="p", capability="c", outcome="ok", counts={"1": 1}),
            Rank.SIGNAL,
        ),
        (
            TransitionItem(seq=1, at=AT, key="p", from_state=BreakerState.CLOSED, to_state=BreakerState.OPEN),
            Rank.SIGNAL,
        ),
        (DrainStepItem(seq=1, at=AT, generation=1, step="drained"), Rank.KEPT),
        (RunEndItem(seq=1, at=AT, run_id="r1", status="completed"), Rank.KEPT),
    ],
)
def test_a_call_that_went_well_at_once_goes_first_and_drain_steps_stay(item: Item, rank: Rank) -> None:
    assert rank_of(item) is rank


def test_a_record_carries_the_item_as_it_is_sent() -> None:
    item = trace_item(seq=7)

    entry = record(item)

    assert isinstance(entry, Record)
    assert (entry.first, entry.last, entry.kind) == (7, 7, "trace")
    assert msgspec.json.decode(entry.body, type=TraceItem) == item


def test_an_item_that_no_frame_could_carry_is_a_gap_from_the_start() -> None:
    assert record(trace_item(seq=7, message="x" * ITEM_MAX_BYTES)) == Gap(7, 7, {"trace": 1})


RECORDS = st.builds(
    Record,
    seq=st.integers(1, 2**62),
    rank=st.sampled_from(Rank),
    kind=st.sampled_from(["trace", "histogram", "drain_step"]),
    body=st.dictionaries(st.text(), st.text()).map(msgspec.json.encode),
)
GAPS = st.builds(
    lambda first, more, count: Gap(first, first + more, {"trace": count}),
    st.integers(1, 2**61),
    st.integers(0, 1000),
    st.integers(1, 1000),
)


@given(RECORDS | GAPS)
def test_a_line_says_the_whole_entry(entry: Entry) -> None:
    line = encode_entry(entry)

    assert line.count(b"\n") == 1
    assert decode_entry(line[:-1]) == entry


@given(RECORDS | GAPS, st.data())
def test_a_line_that_is_torn_or_flipped_is_no_entry(entry: Entry, data: st.DataObject) -> None:
    line = encode_entry(entry)[:-1]
    cut = data.draw(st.integers(0, len(line) - 1))
    flipped = bytearray(line)
    flipped[cut] ^= data.draw(st.integers(1, 255))

    assert decode_entry(line[:cut]) is None
    assert decode_entry(bytes(flipped)) is None


def test_a_torn_end_is_left_out() -> None:
    whole = segment(Record(1, Rank.TRACE, "trace", b"{}"), Record(2, Rank.TRACE, "trace", b"{}"))

    assert [entry.last for entry in decode_segment(whole[:-5])] == [1]


def test_an_unreadable_line_in_the_middle_is_a_gap_that_is_counted() -> None:
    lines = segment(*(Record(seq, Rank.TRACE, "trace", b"{}") for seq in (1, 2, 3, 4))).split(b"\n")
    lines[1] = lines[2] = b"rubbish"

    entries = decode_segment(b"\n".join(lines))

    assert entries[1] == Gap(2, 3, {UNREADABLE: 2})
    assert [entry.first for entry in entries] == [1, 2, 4]


@given(st.binary())
def test_rubbish_makes_no_entries_and_no_error(data: bytes) -> None:
    assert decode_segment(data) == []
