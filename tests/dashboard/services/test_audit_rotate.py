"""A rotation: the file is whole before anything is taken away, and the chain goes on behind it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection

from dashboard.models import AuditEntry, Change, ControlHead
from dashboard.services import audit, audit_archive, audit_rotate, audit_triggers
from dashboard.services.audit import Fault
from dashboard.services.audit_archive import Archive
from dashboard.services.audit_rotate import NotRotated
from tests.dashboard.services.trail import ALICE, forge, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def rotate(file: Path, now: datetime) -> audit_rotate.Rotated:
    return audit_rotate.rotate(path=file, actor=ALICE, reason="spring", now=now)


def test_the_entries_are_in_the_file_and_the_chain_goes_on(file: Path, now: datetime) -> None:
    last = write(now, 3)[-1]

    done = rotate(file, now)

    assert (done.entries, done.head.n, done.head.hash, done.first.n) == (3, 3, last.hash, 4)
    archived = audit_archive.verify(file)
    assert archived.ok
    assert archived.head == done.head
    [entry] = AuditEntry.objects.all()
    assert (entry.n, entry.action, entry.actor_name, entry.reason) == (4, "audit.rotate", "alice", "spring")
    assert entry.after == {"head": {"n": 3, "hash": last.hash}, "entries": 3, "file": str(file)}
    assert Change.objects.latest("id").key == "audit"


def test_what_follows_verifies_and_is_guarded(file: Path, now: datetime) -> None:
    write(now, 3)
    rotate(file, now)
    write(now, 2)

    verdict = audit.verify()

    assert verdict.ok
    assert (verdict.start.n, verdict.entries, verdict.head.n) == (3, 3, 6)
    assert audit_triggers.missing(connection) == []
    forge("UPDATE dashboard_auditentry SET reason = 'x' WHERE n = 5")
    assert (audit.verify().fault, audit.verify().n) == (Fault.CHANGED, 5)


def test_rotations_follow_each_other(tmp_path: Path, now: datetime) -> None:
    files = [tmp_path / f"{n}.jsonl" for n in range(3)]

    for file in files:
        write(now, 2)
        rotate(file, now)

    verdicts = [*map(audit_archive.verify, files), audit.verify()]
    assert [verdict.ok for verdict in verdicts] == [True] * 4
    assert [verdict.start.n for verdict in verdicts] == [0, 2, 5, 8]
    assert [older.head for older in verdicts[:3]] == [newer.start for newer in verdicts[1:]]


def test_an_empty_trail_can_be_rotated(file: Path, now: datetime) -> None:
    assert rotate(file, now).entries == 0

    assert audit.verify().ok
    assert audit_archive.verify(file).ok


def test_what_is_written_during_the_export_is_in_the_file_too(file: Path, now: datetime) -> None:
    write(now, 2)
    export = audit_rotate._export

    def busy(*args: Any, **kwargs: Any) -> Any:
        reader = export(*args, **kwargs)
        write(now, 2, reason="meanwhile")
        return reader

    with patch.object(audit_rotate, "_export", busy):
        assert rotate(file, now).entries == 4

    assert "meanwhile" in file.read_text()
    assert audit_archive.verify(file).ok
    assert audit.verify().ok


def test_a_trail_that_is_not_what_was_written_stays(file: Path, now: datetime) -> None:
    write(now, 2)
    forge("UPDATE dashboard_auditentry SET reason = 'x' WHERE n = 1")

    with pytest.raises(NotRotated, match="reason is not what was written"):
        rotate(file, now)

    assert AuditEntry.objects.count() == 2
    assert not file.exists()


@contextmanager
def failing(owner: Any, name: str, *, call: int = 1) -> Iterator[None]:
    """Let the n-th call of something fail, as a full disk or a power cut would end it."""
    real, calls = getattr(owner, name), []

    def fail(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == call:
            raise OSError("the disk is full")
        return real(*args, **kwargs)

    with patch.object(owner, name, fail):
        yield
    assert len(calls) >= call, "it was never called"


STEPS: list[tuple[Any, str, int]] = [
    (Archive, "write", 1),
    (Archive, "write", 2),
    (Archive, "write", 3),
    *((os, "fsync", call) for call in range(1, 6)),
    (Path, "rename", 1),
    (audit_triggers, "remove", 1),
    (audit, "record", 1),
    (audit_triggers, "install", 1),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("owner", "name", "call"), STEPS)
def test_whatever_fails_on_the_way_leaves_the_trail_as_it_was(
    file: Path, now: datetime, owner: Any, name: str, call: int
) -> None:
    write(now, 3)
    head = audit.verify().head

    with pytest.raises(OSError, match="disk is full"), failing(owner, name, call=call):
        rotate(file, now)

    verdict = audit.verify()
    assert verdict.ok
    assert (verdict.head, verdict.entries) == (head, 3)
    assert ControlHead.objects.get().start_n == 0
    assert not file.exists() or audit_archive.verify(file).head == head
    again = file.with_name("again.jsonl")
    assert rotate(again, now).entries == 3
    assert audit.verify(exported=head).ok


def test_a_file_that_reads_otherwise_than_it_was_written_takes_nothing_away(
    file: Path, now: datetime
) -> None:
    write(now, 3)
    real = Archive.write

    def spoil(archive: Archive, text: str) -> None:
        real(archive, text.replace("alice", "alicf"))

    with (
        patch.object(Archive, "write", spoil),
        pytest.raises(NotRotated, match="not the trail up to entry 3"),
    ):
        rotate(file, now)

    assert AuditEntry.objects.count() == 3
    assert not file.exists()


def test_removing_the_entry_that_a_rotation_wrote_is_named(file: Path, now: datetime) -> None:
    write(now, 3)
    rotate(file, now)
    write(now, 2)

    forge("DELETE FROM dashboard_auditentry WHERE n = 4")

    assert (audit.verify().fault, audit.verify().n) == (Fault.REMOVED, 4)


def test_moving_the_start_hides_nothing(now: datetime) -> None:
    entries = write(now, 4)

    forge("DELETE FROM dashboard_auditentry WHERE n <= 2")
    ControlHead.objects.update(start_n=2, start_hash=entries[1].hash)

    verdict = audit.verify()
    assert (verdict.fault, verdict.n) == (Fault.REMOVED, 2)
    assert "no rotation" in verdict.detail
