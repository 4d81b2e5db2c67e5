"""One file of the spool."""

import errno
import os
from pathlib import Path

import pytest

from meshcore.aio.segment_file import Segment, scan
from meshcore.spool_entry import UNREADABLE, Entry, Gap, Rank, Record


def rec(seq: int) -> Record:
    return Record(seq, Rank.TRACE, "trace", b"{}")


def entries_in(folder: Path) -> list[list[Entry]]:
    return [segment.read() for segment in scan(folder)]


def test_what_is_appended_is_known_and_found_again(tmp_path: Path) -> None:
    segment = Segment.begun(tmp_path, 1)

    segment.append([rec(1), Gap(2, 3, {"trace": 2})])
    segment.append([rec(4)])
    known = segment.tally
    segment.retire()

    (found,) = scan(tmp_path)
    assert found.read() == [rec(1), Gap(2, 3, {"trace": 2}), rec(4)]
    assert (found.tally, found.size) == (known, segment.size)


def test_a_write_that_fails_halfway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    room = [10, 0]

    def write(descriptor: int, data: bytes) -> int:
        if not (taken := room.pop(0)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[:taken])

    segment = Segment.begun(tmp_path, 1)
    segment.append([rec(1)])
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr("meshcore.aio.segment_file.os.write", write)
        segment.append([rec(2)])
    segment.append([rec(3)])
    segment.retire()

    assert entries_in(tmp_path) == [[rec(1), Gap(2, 2, {UNREADABLE: 1}), rec(3)]]


def test_a_file_is_rewritten_whole(tmp_path: Path) -> None:
    segment = Segment.begun(tmp_path, 1)
    segment.append([rec(1), rec(2)])

    segment.rewrite([Gap(1, 1, {"trace": 1}), rec(2)])

    assert segment.read() == [Gap(1, 1, {"trace": 1}), rec(2)]
    assert (segment.tally.items[Rank.TRACE], segment.size) == (1, segment.path.stat().st_size)


def test_what_cannot_be_read_any_more_is_a_gap_with_all_it_counted(tmp_path: Path) -> None:
    segment = Segment.begun(tmp_path, 1)
    segment.append([rec(1), Gap(2, 4, {"trace": 3}), rec(5)])
    segment.retire()
    segment.path.unlink()

    assert segment.read() == [Gap(1, 5, {UNREADABLE: 2, "trace": 3})]


def test_files_with_nothing_new_are_removed(tmp_path: Path) -> None:
    joined, rest = Segment.begun(tmp_path, 1), Segment.begun(tmp_path, 3)
    joined.append([rec(1), rec(3), rec(4)])
    rest.append([rec(3), rec(4)])
    later = Segment.begun(tmp_path, 5)
    later.append([rec(5)])
    for segment in (joined, rest, later):
        segment.retire()
    (tmp_path / f"{9:020d}.segment").write_bytes(b"rubb")

    assert [segment.path for segment in scan(tmp_path)] == [joined.path, later.path]
    assert not rest.path.exists()
    assert len(list(tmp_path.iterdir())) == 2
