"""What is sent next, and what goes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.frames import BATCH_MAX_ITEMS, Telemetry
from meshcore.spool import (
    LOOSE,
    Drop,
    SpoolPolicy,
    Tally,
    add,
    append_gap,
    batch,
    excess,
    join,
    kept_excess,
    missing_behind,
    small_neighbours,
    thin,
)
from meshcore.spool_entry import Dropped, Entry, Gap, Rank, Record

KIND = {Rank.BORING: "trace", Rank.TRACE: "trace", Rank.SIGNAL: "histogram", Rank.KEPT: "drain_step"}


def rec(seq: int, rank: Rank = Rank.TRACE, *, size: int = 10) -> Record:
    return Record(seq, rank, KIND[rank], b"x" * size)


def numbers(frame: Telemetry | None) -> tuple[int, int, int] | None:
    return None if frame is None else (frame.after, frame.to, len(frame.items))


def test_a_batch_is_what_lies_behind_the_mark() -> None:
    entries = [rec(1), rec(2), rec(3)]

    assert numbers(batch(entries, 0)) == (0, 3, 3)
    assert numbers(batch(entries, 2)) == (2, 3, 1)
    assert batch(entries, 3) is None
    assert batch([], 0) is None


def test_a_batch_holds_at_most_so_many_items() -> None:
    entries = [rec(seq) for seq in range(1, BATCH_MAX_ITEMS + 2)]

    first = batch(entries, 0)

    assert numbers(first) == (0, BATCH_MAX_ITEMS, BATCH_MAX_ITEMS)
    assert numbers(batch(entries, BATCH_MAX_ITEMS)) == (BATCH_MAX_ITEMS, BATCH_MAX_ITEMS + 1, 1)


def test_a_batch_holds_at_most_so_many_bytes_but_always_one_item() -> None:
    entries: list[Entry] = [rec(1, size=50), rec(2, size=50), rec(3, size=500)]

    assert numbers(batch(entries, 0, max_bytes=101)) == (0, 2, 2)
    assert numbers(batch(entries, 0, max_bytes=100)) == (0, 1, 1)
    assert numbers(batch(entries, 2, max_bytes=100)) == (2, 3, 1)


def test_a_batch_carries_the_counts_of_the_gaps_it_covers() -> None:
    entries: list[Entry] = [Gap(1, 4, {"trace": 4}), rec(5), Gap(6, 6, {"histogram": 1})]

    frame = batch(entries, 2)

    assert frame is not None
    assert numbers(frame) == (2, 6, 1)
    assert frame.dropped == {"trace": 2, "histogram": 1}


def test_a_gap_alone_moves_the_mark_too() -> None:
    assert batch([Gap(1, 9, {"trace": 9})], 0) == Telemetry(after=0, to=9, dropped={"trace": 9})


def test_numbers_that_were_never_used_need_no_gap() -> None:
    frame = batch([rec(1), rec(100_000)], 0)

    assert numbers(frame) == (0, 100_000, 2)
    assert frame is not None
    assert frame.dropped == {}


def test_of_a_mixed_gap_too_much_is_said_rather_than_too_little() -> None:
    assert missing_behind(Gap(1, 10, {"trace": 6, "histogram": 4}), 5) == {"trace": 5, "histogram": 4}


def test_thinning_leaves_gaps_that_count_and_joins_neighbours() -> None:
    entries: list[Entry] = [
        rec(1, Rank.BORING),
        rec(2, Rank.BORING),
        rec(3, Rank.TRACE),
        rec(4, Rank.BORING),
        rec(5, Rank.KEPT),
    ]

    boring_gone, dropped = thin(entries, Rank.BORING)
    all_traces_gone, more = thin(boring_gone, Rank.TRACE)

    assert boring_gone == [Gap(1, 2, {"trace": 2}), rec(3), Gap(4, 4, {"trace": 1}), rec(5, Rank.KEPT)]
    assert all_traces_gone == [Gap(1, 4, {"trace": 4}), rec(5, Rank.KEPT)]
    assert (dropped, more) == ({"trace": 3}, {"trace": 1})


def test_gaps_of_different_kinds_are_joined_only_when_nothing_of_them_was_sent() -> None:
    apart: list[Entry] = [Gap(1, 1, {"trace": 1})]
    joined: list[Entry] = [Gap(1, 1, {"trace": 1})]

    append_gap(apart, Gap(2, 2, {"histogram": 1}))
    append_gap(joined, Gap(2, 2, {"histogram": 1}), mixed=True)
    append_gap(joined, Gap(4, 4, {"trace": 1}), mixed=True)
    mixed = list(joined[:1])
    append_gap(mixed, Gap(3, 4, {"trace": 1, "histogram": 1}))

    assert apart == [Gap(1, 1, {"trace": 1}), Gap(2, 2, {"histogram": 1})]
    assert joined == [Gap(1, 2, {"trace": 1, "histogram": 1}), Gap(4, 4, {"trace": 1})]
    assert len(mixed) == 2, "the mark may stand between them, and nobody could say what lies behind it"


def test_a_tally_knows_what_waits() -> None:
    tally = Tally.of([Gap(1, 2, {"trace": 2}), rec(3), rec(5, Rank.KEPT, size=7)])

    assert (tally.first, tally.last) == (1, 5)
    assert [tally.waiting(at) for at in (0, 2, 3, 4, 5)] == [2, 2, 1, 1, 0]
    assert (tally.items[Rank.KEPT], tally.bytes[Rank.KEPT]) == (1, 7)
    assert tally.dropped == {"trace": 2}


def what_to_drop(tallies: list[Tally], policy: SpoolPolicy) -> list[Drop]:
    kept = kept_excess(tallies, policy).drops(tallies, (Rank.KEPT,))
    return excess(tallies, policy).drops(tallies, LOOSE) + kept


def test_within_its_bounds_nothing_goes() -> None:
    tallies = [Tally.of([rec(1, size=100)])]

    assert what_to_drop(tallies, SpoolPolicy(max_bytes=100, max_items=1)) == []
    assert not excess(tallies, SpoolPolicy(max_bytes=100, max_items=1)).is_over()


def test_boring_traces_go_first_then_all_traces_then_signals_oldest_first() -> None:
    tallies = [
        Tally.of([rec(at, rank) for at, rank in enumerate(Rank, start=10 * number)]) for number in (1, 2)
    ]

    drops = what_to_drop(tallies, SpoolPolicy(max_bytes=1, max_items=100))

    assert drops == [
        Drop(0, Rank.BORING),
        Drop(1, Rank.BORING),
        Drop(0, Rank.TRACE),
        Drop(1, Rank.TRACE),
        Drop(0, Rank.SIGNAL),
        Drop(1, Rank.SIGNAL),
    ]


def test_no_more_goes_than_must() -> None:
    tallies = [Tally.of([rec(1, Rank.KEPT)]), *(Tally.of([rec(number, Rank.BORING)]) for number in (2, 3, 4))]

    assert what_to_drop(tallies, SpoolPolicy(max_bytes=1000, max_items=2)) == [Drop(1, Rank.BORING)]
    assert what_to_drop(tallies, SpoolPolicy(max_bytes=20, max_items=1000)) == [Drop(1, Rank.BORING)]


def test_drain_steps_have_room_of_their_own_and_lose_their_oldest_beyond_it() -> None:
    tallies = [Tally.of([rec(1, Rank.KEPT), rec(2, Rank.BORING)]), Tally.of([rec(3, Rank.KEPT)])]

    assert what_to_drop(tallies, SpoolPolicy(max_bytes=10, kept_bytes=20)) == []
    assert what_to_drop(tallies, SpoolPolicy(max_bytes=10, kept_bytes=10)) == [Drop(0, Rank.KEPT)]


@pytest.mark.parametrize("bound", ["max_bytes", "max_items", "kept_bytes", "segment_bytes"])
def test_a_bound_of_nothing_is_refused(bound: str) -> None:
    with pytest.raises(ValueError, match="above 0"):
        SpoolPolicy(**{bound: 0})


@given(
    st.lists(st.sampled_from(Rank), min_size=1, max_size=60),
    st.lists(st.sampled_from(Rank), max_size=4),
    st.lists(st.integers(1, 7), max_size=20),
)
def test_every_number_is_sent_or_counted_once_however_it_is_thinned_and_cut(
    ranks: list[Rank], gone: list[Rank], cuts: list[int]
) -> None:
    entries: list[Entry] = [rec(seq, rank) for seq, rank in enumerate(ranks, start=1)]
    for rank in gone:
        entries, _ = thin(entries, rank)

    sent, counted, after = 0, 0, 0
    for size in [*cuts, *[10_000] * len(ranks)]:
        frame = batch(entries, after, max_bytes=size * 11)
        if frame is None:
            break
        assert frame.after == after < frame.to
        sent, counted, after = sent + len(frame.items), counted + sum(frame.dropped.values()), frame.to

    assert after == len(ranks)
    assert sent == sum(rank not in gone for rank in ranks)
    assert sent + counted == len(ranks)


def test_counts_add_up_in_place() -> None:
    counts: Dropped = {"trace": 1}

    assert add(counts, {"trace": 2, "histogram": 3}) is counts
    assert counts == {"trace": 3, "histogram": 3}


def test_files_are_joined_when_enough_neighbours_fit_into_one() -> None:
    assert small_neighbours([9, 1, 2, 3, 9], at_least=3, most_bytes=6) == (1, 4)
    assert small_neighbours([9, 1, 2, 3, 9], at_least=3, most_bytes=5) is None
    assert small_neighbours([9, 1, 2, 3, 9], at_least=4, most_bytes=6) is None
    assert small_neighbours([9, 9], at_least=1, most_bytes=6) is None
    assert small_neighbours([], at_least=1, most_bytes=6) is None


def test_numbers_never_used_between_files_are_no_loss_within_the_one_they_become() -> None:
    joined = join([[rec(1), rec(2)], [], [rec(3)], [rec(10)]])

    assert joined == [rec(1), rec(2), rec(3), Gap(4, 9, {}), rec(10)]
