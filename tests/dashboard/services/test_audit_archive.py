"""Exports as files: there when they are whole, and verified like the trail itself."""

import os
import random
import stat
from datetime import datetime
from pathlib import Path
from unittest.mock import patch

import pytest

from dashboard.selectors.audit import AuditFilter
from dashboard.services import audit_archive, audit_export
from dashboard.services.audit import Fault, Head
from dashboard.services.audit_archive import NotAnExport
from dashboard.services.audit_export import Form
from tests.dashboard.services.trail import ALICE, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def file(tmp_path: Path, now: datetime) -> Path:
    """An export of four entries, the last of which is its own."""
    write(now, 3, before={"ü": [1.5, None]}, reason='a "reason"')
    return export(tmp_path / "audit.jsonl", AuditFilter(), now)


def export(path: Path, wanted: AuditFilter, now: datetime) -> Path:
    asked = audit_export.begin(wanted=wanted, form=Form.JSON_LINES, actor=ALICE, now=now)
    with audit_archive.new(path) as archive:
        for piece in audit_export.pieces(asked, Form.JSON_LINES):
            archive.write(piece)
        archive.finish()
    return path


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines(keepends=True)


def test_a_whole_export_verifies(file: Path) -> None:
    verdict = audit_archive.verify(file)

    assert verdict.ok
    assert (verdict.entries, verdict.start.n, verdict.head.n) == (4, 0, 4)
    assert audit_archive.head_of(file) == verdict.head
    assert audit_archive.verify(file, exported=verdict.head).ok
    assert audit_archive.verify(file, exported=Head(n=2, hash="f" * 64)).n == 2


def test_it_is_for_its_owner_alone(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_is_there_is_never_written_over(file: Path, now: datetime) -> None:
    before = file.read_bytes()

    with pytest.raises(FileExistsError, match="is there already"):
        export(file, AuditFilter(), now)

    assert file.read_bytes() == before


def test_a_file_that_failed_halfway_is_not_there(tmp_path: Path, now: datetime) -> None:
    with pytest.raises(OSError, match="no space"), patch.object(os, "fsync", side_effect=OSError("no space")):
        export(tmp_path / "audit.jsonl", AuditFilter(), now)

    assert list(tmp_path.iterdir()) == []


def test_any_byte_of_an_entry_that_was_changed_is_named(file: Path) -> None:
    chance = random.Random(4)
    text = file.read_bytes()
    first, *entries, last = text.splitlines(keepends=True)
    at = len(first)

    for n, line in enumerate(entries, start=1):
        for position in range(len(line) - 1):
            byte = (text[at + position] + chance.randrange(1, 128)) % 128
            if byte == ord("\n"):
                continue
            file.write_bytes(text[: at + position] + bytes([byte]) + text[at + position + 1 :])
            assert named(file) in {n, "not an export"}, (n, position, chr(byte))
        at += len(line)

    assert len(text) - at == len(last)


def named(file: Path) -> int | str | None:
    try:
        return audit_archive.verify(file).n
    except NotAnExport as exc:
        assert "line" in str(exc)
        return "not an export"


@pytest.mark.parametrize(
    ("keep", "fault", "n"),
    [
        ([0, 1, 3, 4, 5], Fault.REMOVED, 2),
        ([0, 1, 2, 3, 5], Fault.REMOVED, 4),
        ([0, 1, 3, 2, 4, 5], Fault.REMOVED, 2),
        ([0, 1, 2, 2, 3, 4, 5], Fault.INSERTED, 2),
    ],
)
def test_lines_that_are_missing_or_moved_are_named(file: Path, keep: list[int], fault: Fault, n: int) -> None:
    all_lines = lines(file)
    file.write_text("".join(all_lines[k] for k in keep))

    verdict = audit_archive.verify(file)

    assert (verdict.fault, verdict.n) == (fault, n)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 0 is not JSON"),
        ("hello\n", "line 1 is not JSON"),
        ("[]\n", "line 1 is no object"),
        ('{"meshboard_audit": 2}\n', "not of an audit export, version 1"),
        ('{"meshboard_audit": 1}\n', "names no head"),
        ('{"meshboard_audit": NaN}\n', "line 1 is not JSON"),
        ("\udcff\n", "not UTF-8"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(text, errors="surrogateescape")

    with pytest.raises(NotAnExport, match=words):
        audit_archive.verify(file)
    with pytest.raises(NotAnExport):
        audit_archive.head_of(file)


def test_a_file_that_was_cut_off_is_no_export(file: Path) -> None:
    whole = file.read_text()

    for cut, words in (
        ("".join(lines(file)[:-1]), "last line is missing"),
        (whole[:-30], "cut off in line 6"),
    ):
        file.write_text(cut)
        with pytest.raises(NotAnExport, match=words):
            audit_archive.verify(file)
        with pytest.raises(NotAnExport, match="cut off"):
            audit_archive.head_of(file)


def test_a_part_of_the_trail_is_no_chain_but_carries_the_head(tmp_path: Path, now: datetime) -> None:
    write(now, 2)
    file = export(tmp_path / "part.jsonl", AuditFilter(actor="alice"), now)

    with pytest.raises(NotAnExport, match="a part is no chain"):
        audit_archive.verify(file)
    assert audit_archive.head_of(file).n == 3
