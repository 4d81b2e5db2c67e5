"""The spool on disk."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshcore import framing
from meshcore.aio import segments
from meshcore.aio.segments import RETIRE_BYTES, SegmentStore
from meshcore.frames import HistogramItem, Telemetry
from meshcore.spool import SpoolPolicy
from meshcore.spool_entry import UNREADABLE, Entry, Gap, Rank, Record, record

AT = datetime(2026, 1, 1, tzinfo=UTC)
KIND = {Rank.BORING: "trace", Rank.TRACE: "trace", Rank.SIGNAL: "histogram", Rank.KEPT: "drain_step"}
SMALL = SpoolPolicy(max_bytes=3000, max_items=1000, segment_bytes=1000)
SMALL_FILES = SpoolPolicy(max_bytes=8000, max_items=1000, segment_bytes=2500)


def rec(seq: int, rank: Rank = Rank.TRACE, *, size: int = 100) -> Record:
    return Record(seq, rank, KIND[rank], b'"' + b"x" * (size - 2) + b'"')


def store(folder: Path, policy: SpoolPolicy = SMALL, *, floor: int = 0) -> SegmentStore:
    return SegmentStore(folder, policy, floor=floor)


def fill(spool: SegmentStore, count: int, rank: Rank = Rank.TRACE, *, first: int = 1) -> None:
    for seq in range(first, first + count):
        spool.write([rec(seq, rank)])


def frames(spool: SegmentStore, after: int = 0) -> list[Telemetry]:
    found: list[Telemetry] = []
    while frame := spool.read(found[-1].to if found else after):
        found.append(frame)
    return found


def count(spool: SegmentStore) -> tuple[int, int]:
    """How many items are sent, and how many drops are counted."""
    sent = frames(spool)
    return sum(len(frame.items) for frame in sent), sum(sum(frame.dropped.values()) for frame in sent)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.segment"))


def kill(spool: SegmentStore) -> None:
    """Let go of the files as a killed process does: nothing is written any more."""
    for segment in spool._segments:
        segment.retire()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_what_is_written_is_read_across_files(folder: Path) -> None:
    spool = store(folder)

    fill(spool, 20)

    assert len(files(folder)) == 3
    assert [(frame.after, frame.to, len(frame.items)) for frame in frames(spool)] == [(0, 20, 20)]
    assert spool.read(20) is None
    assert spool.report().size == 20
    spool.close(20)


def test_content_identity_and_numbers_outlive_the_process(folder: Path) -> None:
    first = store(folder)
    fill(first, 3)
    first.close(3)

    second = store(folder)

    assert second.spool_id == first.spool_id
    assert second.last_number == 3
    assert count(second) == (3, 0)
    second.close(3)


def test_a_new_home_is_a_new_spool(tmp_path: Path) -> None:
    one, other = store(tmp_path / "a"), store(tmp_path / "b")

    assert one.spool_id != other.spool_id


def test_after_a_kill_numbers_begin_behind_the_reserve(folder: Path) -> None:
    first = store(folder)
    fill(first, 3)
    kill(first)

    second = store(folder)

    assert second.last_number > 3 + segments.RESERVE // 2
    assert count(second) == (3, 0)


def test_the_reserve_is_renewed_before_it_is_used_up(folder: Path) -> None:
    first = store(folder)
    far = 10 * segments.RESERVE
    first.write([rec(far)])
    kill(first)

    assert store(folder).last_number > far + segments.RESERVE // 2


def test_a_torn_end_is_left_out_and_the_next_file_goes_on(folder: Path) -> None:
    first = store(folder)
    fill(first, 3)
    kill(first)
    path = folder / files(folder)[0]
    path.write_bytes(path.read_bytes()[:-20])

    second = store(folder)
    fill(second, 2, first=second.last_number + 1)

    assert count(second) == (4, 0)
    kill(second)


def test_a_file_with_nothing_whole_in_it_is_removed(folder: Path) -> None:
    folder.mkdir()
    (folder / "00000000000000000001.segment").write_bytes(b"rubb")
    (folder / ".state.json.0a0b.draft").write_bytes(b"{")

    spool = store(folder)

    assert files(folder) == []
    assert list(folder.glob(".*.draft")) == []
    assert spool.read(0) is None
    spool.acknowledge(10)


def test_a_spool_whose_state_is_lost_becomes_another_one_behind_its_numbers(folder: Path) -> None:
    first = store(folder)
    fill(first, 3)
    first.close(3)
    (folder / "state.json").write_bytes(b"{")

    second = store(folder)

    assert second.spool_id != first.spool_id
    assert second.last_number == 3
    assert count(second) == (3, 0)


def test_acknowledged_files_are_removed_and_the_rest_stays(folder: Path) -> None:
    spool = store(folder)
    fill(spool, 20)

    spool.acknowledge(10)

    assert len(files(folder)) == 2
    assert spool.report().size == 10
    assert [(frame.after, frame.to) for frame in frames(spool, after=10)] == [(10, 20)]
    spool.acknowledge(20)
    assert len(files(folder)) == 1, "a small growing file is kept, it would be made again at once"
    assert spool.report().size == 0
    kill(spool)


def test_a_growing_file_is_given_up_when_it_is_big_and_acknowledged(folder: Path) -> None:
    spool = store(folder, SpoolPolicy())
    spool.write([rec(1, size=RETIRE_BYTES)])

    spool.acknowledge(1)

    assert files(folder) == []
    fill(spool, 1, first=2)
    assert [(frame.after, frame.to) for frame in frames(spool, after=1)] == [(1, 2)]
    kill(spool)


def test_beyond_the_bound_boring_traces_go_first_and_each_drop_is_counted_once(folder: Path) -> None:
    spool = store(folder)
    for seq in range(1, 61, 3):
        spool.write([rec(seq, Rank.BORING), rec(seq + 1, Rank.SIGNAL), rec(seq + 2, Rank.KEPT, size=10)])

    sent = frames(spool)
    kinds = [bytes(item) for frame in sent for item in frame.items]
    dropped = sum(frame.dropped.get("trace", 0) for frame in sent)

    assert dropped > 0
    assert len(kinds) + dropped == 60
    assert spool.report().dropped == {"trace": dropped}
    assert sum(len(kind) == 10 for kind in kinds) == 20, "drain steps have room of their own"
    kill(spool)


def test_drops_are_remembered_and_sent_by_the_next_process(folder: Path) -> None:
    first = store(folder)
    fill(first, 60, Rank.BORING)
    before = count(first)
    kill(first)

    second = store(folder)

    assert before[1] > 0
    assert count(second) == before
    assert second.report().dropped == {"trace": before[1]}


def test_a_mark_inside_a_gap_is_told_only_the_rest(folder: Path) -> None:
    spool = store(folder)
    fill(spool, 60, Rank.BORING)

    frame = spool.read(3)

    assert frame is not None
    assert frame.after == 3
    assert frame.dropped["trace"] == sum(f.dropped.get("trace", 0) for f in frames(spool)) - 3
    kill(spool)


def test_a_spool_set_back_becomes_another_one_and_sends_what_came_since_it_was_opened(folder: Path) -> None:
    before = store(folder)
    fill(before, 5)
    kill(before)
    spool = store(folder)
    first = spool.last_number + 1
    fill(spool, 3, first=first)

    spool.take_new_id(AT)

    assert spool.spool_id != before.spool_id
    assert (spool.report().size, spool.report().reset_at) == (3, AT)
    assert [(frame.to, len(frame.items)) for frame in frames(spool)] == [(first + 2, 3)]
    kill(spool)
    again = store(folder)
    assert (again.spool_id, again.report().reset_at, count(again)) == (spool.spool_id, AT, (3, 0))
    kill(again)


def test_an_old_spool_goes_on_behind_the_floor_and_a_new_one_begins_at_one(folder: Path) -> None:
    first = store(folder, floor=10**15)
    assert first.last_number == 0
    fill(first, 3)
    first.close(3)

    second = store(folder, floor=10**15)
    assert second.last_number == 10**15
    second.close(10**15)
    assert store(folder, floor=7).last_number == 10**15, "a clock that went back doesn't count"


@contextmanager
def disk_that_takes(monkeypatch: pytest.MonkeyPatch, room: int) -> Iterator[None]:
    """Give `room` more bytes to segments, then no more."""
    left = room

    def write(descriptor: int, data: bytes | memoryview) -> int:
        nonlocal left
        taken = min(len(data), left)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left -= taken
        return real(descriptor, data[:taken])

    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr("meshcore.aio.segment_file.os.write", write)
        yield


@pytest.mark.parametrize("begun", [False, True])
def test_a_write_that_fails_halfway_leaves_nothing_of_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    spool = store(folder)
    fill(spool, 2 * begun)

    with disk_that_takes(monkeypatch, room=150), pytest.raises(OSError, match="No space"):
        spool.write([rec(3), rec(4)])
    spool.write([Gap(3, 4, {"trace": 2}), rec(5)])

    assert count(spool) == (1 + 2 * begun, 2)
    assert spool.report().dropped == {"trace": 2}
    kill(spool)
    assert count(store(folder)) == (1 + 2 * begun, 2)


def test_when_no_room_can_be_made_nothing_is_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = store(folder)

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("meshcore.aio.segment_file.replace_file", full)
        fill(spool, 40, Rank.BORING)

    assert count(spool) == (40, 0)
    kill(spool)


def test_a_file_that_cannot_be_read_any_more_is_counted_and_passed(folder: Path) -> None:
    spool = store(folder)
    fill(spool, 20)
    (folder / files(folder)[0]).unlink()

    sent = frames(spool)

    assert sum(frame.dropped.get(UNREADABLE, 0) for frame in sent) == 20 - sum(len(f.items) for f in sent) > 0
    assert sent[-1].to == 20
    kill(spool)


def test_writing_nothing_makes_no_file(folder: Path) -> None:
    entries: list[Entry] = []

    store(folder).write(entries)

    assert files(folder) == []


# Signals are merged before any of them goes.

MINUTE = SpoolPolicy(max_bytes=6000, max_items=1000, segment_bytes=1500)


def latency(seq: int, minute: int = 0) -> Entry:
    at = AT + timedelta(minutes=minute)
    said = {"provider": "alpha", "capability": "llm.chat", "outcome": "ok", "counts": {"3": 1}}
    return record(HistogramItem(seq=seq, at=at, **said))


def counted(spool: SegmentStore, after: int = 0) -> int:
    """How many durations the histograms have that are sent."""
    items = [framing.decode_item(item) for frame in frames(spool, after) for item in frame.items]
    return sum(sum(item.counts.values()) for item in items if isinstance(item, HistogramItem))


def test_beyond_the_bound_histograms_are_added_up_and_none_is_lost(folder: Path) -> None:
    spool = store(folder, MINUTE)

    for seq in range(1, 201):
        spool.write([latency(seq)])

    assert counted(spool) == 200
    assert spool.report().size < 60
    assert spool.report().dropped == {}
    kill(spool)
    again = store(folder, MINUTE)
    assert (counted(again), again.report().dropped) == (200, {})
    kill(again)


def test_when_merging_wins_nothing_the_oldest_signals_go_and_are_counted(folder: Path) -> None:
    spool = store(folder, MINUTE)

    for seq in range(1, 201):
        spool.write([latency(seq, minute=seq)])

    dropped = spool.report().dropped["histogram"]
    assert counted(spool) + dropped == 200
    assert [each.dropped for each in frames(spool)] == [{"histogram": dropped}]
    kill(spool)


def test_what_may_be_at_the_dashboard_already_is_never_merged_with_what_is_not(folder: Path) -> None:
    spool = store(folder, MINUTE)
    for seq in range(1, 6):
        spool.write([latency(seq)])
    sent = spool.read(0)
    assert sent is not None
    assert sent.to == 5

    for seq in range(6, 201):
        spool.write([latency(seq)])

    assert counted(spool, after=5) + spool.report().dropped.get("histogram", 0) == 195
    kill(spool)


def test_what_was_there_when_it_was_opened_is_merged_once_the_dashboard_has_said_its_mark(
    folder: Path,
) -> None:
    before = store(folder, MINUTE)
    fill_latencies(before, 1, 20)
    kill(before)
    spool = store(folder, MINUTE)
    last = spool.last_number
    spool.resume(0)

    fill_latencies(spool, last + 1, last + 100)

    assert counted(spool) == 120
    assert spool.report().dropped == {}
    kill(spool)


def fill_latencies(spool: SegmentStore, first: int, last: int) -> None:
    for seq in range(first, last + 1):
        spool.write([latency(seq)])


def mostly_boring(spool: SegmentStore, first: int, last: int) -> None:
    for seq in range(first, last + 1):
        spool.write([rec(seq, Rank.BORING) if seq % 50 else rec(seq, Rank.KEPT, size=10)])


def test_files_that_became_small_are_joined(folder: Path) -> None:
    spool = store(folder, SMALL_FILES)
    mostly_boring(spool, 1, 2000)
    spool.acknowledge(4)

    assert len(files(folder)) < 40
    sent = frames(spool, after=4)
    assert sum(len(frame.items) + frame.dropped.get("trace", 0) for frame in sent) == 2000 - 4
    kill(spool)
    again = store(folder, SMALL_FILES)
    assert frames(again, after=4) == sent
    kill(again)


def test_who_ends_while_files_are_joined_leaves_none_of_it_twice(folder: Path) -> None:
    spool = store(folder, SMALL_FILES)
    written = 0
    before: dict[Path, bytes] = {}
    while before.keys() <= set(folder.glob("*.segment")):
        assert written < 3000, "files were never joined"
        before = {path: path.read_bytes() for path in folder.glob("*.segment")}
        mostly_boring(spool, written + 1, written + 20)
        written += 20
    kill(spool)
    for path in before.keys() - set(folder.glob("*.segment")):
        path.write_bytes(before[path])

    again = store(folder, SMALL_FILES)

    assert sum(count(again)) == written
    kill(again)


# A disk without room.


def test_a_state_that_cannot_be_saved_costs_no_item_and_counts_no_drop_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = store(folder)

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("meshcore.aio.segments.replace_file", full)
        spool.write([rec(1), Gap(2, 3, {"trace": 2})])
        spool.write([rec(4)])
        spool.close(4)

    assert count(spool) == (2, 2)
    assert spool.report().dropped == {"trace": 2}
    kill(spool)


def test_a_full_disk_keeps_nobody_from_opening_and_then_nothing_is_stored(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("meshcore.aio.segments.replace_file", full)
        spool = store(folder)
        with pytest.raises(OSError, match="No space"):
            spool.write([rec(1)])
    spool.write([Gap(1, 1, {"trace": 1}), rec(2)])

    assert count(spool) == (1, 1)
    kill(spool)
