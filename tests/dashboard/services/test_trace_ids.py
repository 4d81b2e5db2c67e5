"""Order of ids is order of time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.services.trace_ids import allocate

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def milliseconds(id_: int) -> int:
    return id_ >> 20


def test_ids_begin_in_the_present_millisecond() -> None:
    assert milliseconds(allocate(1, now=NOW, highest=0)[0]) == int(NOW.timestamp() * 1000)


def test_a_batch_rises_and_borrows_a_millisecond_when_the_counter_is_used_up() -> None:
    ids = allocate(20_000, now=NOW, highest=0)

    assert ids == sorted(set(ids))
    assert milliseconds(ids[16_383]) == milliseconds(ids[0])
    assert milliseconds(ids[16_384]) == milliseconds(ids[0]) + 1


def test_a_clock_that_fell_back_does_not_take_ids_with_it() -> None:
    before = allocate(10, now=NOW, highest=0)

    after = allocate(1, now=NOW - timedelta(hours=1), highest=before[-1])

    assert after[0] > before[-1]


def test_slots_keep_processes_apart() -> None:
    one, other = (set(allocate(20_000, now=NOW, highest=0, slot=slot)) for slot in (0, 63))

    assert not one & other


@pytest.mark.parametrize("slot", [-1, 64])
def test_there_are_64_slots(slot: int) -> None:
    with pytest.raises(ValueError, match="0 to 63"):
        allocate(1, now=NOW, highest=0, slot=slot)


@given(st.lists(st.tuples(st.integers(-5000, 5000), st.integers(0, 40)), max_size=30))
def test_whatever_the_clock_does_ids_rise(batches: list[tuple[int, int]]) -> None:
    given_out: list[int] = []
    for shift, count in batches:
        at = NOW + timedelta(milliseconds=shift)
        given_out += allocate(count, now=at, highest=given_out[-1] if given_out else 0)

    assert given_out == sorted(set(given_out))
