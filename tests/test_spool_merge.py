"""What a full spool says shorter, and that it says the same."""

from datetime import timedelta
from typing import Any

import msgspec

from meshcore import framing
from meshcore.breaker import BreakerState
from meshcore.frames import DrainStepItem, HistogramItem, Item, TransitionItem
from meshcore.spool_entry import ITEM_MAX_BYTES, Entry, Gap, Rank, Record, record
from meshcore.spool_merge import COUNT_MAX, key_of, merge
from meshcore.testing import START

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def change(
    seq: int, before: BreakerState, after: BreakerState, key: str = "alpha", **more: Any
) -> TransitionItem:
    at = START + timedelta(seconds=seq)
    return TransitionItem(seq=seq, at=at, key=key, from_state=before, to_state=after, **more)


def latencies(seq: int, seconds: float = 0.0, **more: Any) -> HistogramItem:
    said = {"provider": "alpha", "capability": "llm.chat", "outcome": "ok", "counts": {"3": 2}} | more
    return HistogramItem(seq=seq, at=START + timedelta(seconds=seconds), **said)


def merged(*items: Item, behind: int = 0) -> list[Item | Gap]:
    entries: list[Entry] = [record(item) for item in items]
    return [
        each if isinstance(each, Gap) else framing.decode_item(each.body)
        for each in merge(entries, behind=behind)
    ]


def test_the_changes_of_one_breaker_become_the_first_the_last_and_a_count() -> None:
    last = change(3, HALF_OPEN, CLOSED, reason="tried", evidence="probe")

    found = merged(change(1, CLOSED, OPEN), change(2, OPEN, HALF_OPEN, count=4), last)

    assert found == [Gap(1, 2, {}), msgspec.structs.replace(last, from_state=CLOSED, count=6)]


def test_the_histograms_of_one_minute_are_added_up_bucket_by_bucket() -> None:
    found = merged(
        latencies(1, counts={"3": 2, "4": 1}, failovers=1), latencies(2, 50, counts={"4": 5}, failovers=2)
    )

    assert found == [Gap(1, 1, {}), latencies(2, 50, counts={"3": 2, "4": 6}, failovers=3)]


def test_what_differs_in_its_key_stays_apart() -> None:
    apart: list[Item] = [
        latencies(1),
        latencies(2, 60),
        latencies(3, provider="beta"),
        latencies(4, outcome="error"),
        latencies(5, capability="llm.embed"),
        latencies(6, histogram_version=2),
        change(7, CLOSED, OPEN),
        change(8, CLOSED, OPEN, key="beta"),
        DrainStepItem(seq=9, at=START, generation=1, step="drained"),
        DrainStepItem(seq=10, at=START, generation=1, step="drained"),
    ]

    assert merged(*apart) == apart
    assert len({key_of(each) for each in apart if isinstance(each, HistogramItem | TransitionItem)}) == 8


def test_what_may_have_been_sent_stays_as_it_is() -> None:
    items = [latencies(1), latencies(2), latencies(3), latencies(4)]

    assert merged(*items, behind=4) == items
    assert merged(*items, behind=2) == [*items[:2], Gap(3, 3, {}), latencies(4, counts={"3": 4})]


def test_more_than_an_item_may_hold_stays_two() -> None:
    many = [latencies(1, counts={"3": COUNT_MAX}), latencies(2, counts={"3": 1})]
    long = [change(1, CLOSED, OPEN, count=COUNT_MAX), change(2, OPEN, CLOSED)]
    wide = [
        latencies(number, counts={f"{number}{'0' * (ITEM_MAX_BYTES // 2)}": 1, f"{number}": 1})
        for number in (1, 2)
    ]

    assert merged(*many) == many
    assert merged(*long) == long
    assert merged(*wide) == wide


def test_what_cannot_be_read_here_stays_as_it_is() -> None:
    entries: list[Entry] = [
        Record(1, Rank.SIGNAL, "histogram", b"{}"),
        Record(2, Rank.SIGNAL, "histogram", b"{}"),
        Record(3, Rank.SIGNAL, "trace", b'{"kind":"run_end","seq":3,"at":"2026-01-01T00:00:00Z"}'),
        record(DrainStepItem(seq=4, at=START, generation=1, step="drained")),
    ]

    assert merge(entries, behind=0) == entries


def test_a_breaker_and_a_histogram_never_meet() -> None:
    assert merged(change(1, CLOSED, OPEN), latencies(2)) == [change(1, CLOSED, OPEN), latencies(2)]
