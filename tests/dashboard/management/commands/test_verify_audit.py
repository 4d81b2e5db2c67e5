"""`verify_audit`: says what is wrong, and fails."""

from argparse import ArgumentTypeError
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from dashboard.management.commands.verify_audit import FAULT, USAGE, head
from dashboard.models import ControlHead, Node
from dashboard.services import audit_triggers
from dashboard.services.audit import Head
from tests.dashboard.services.trail import forge

pytestmark = pytest.mark.django_db


def run(*arguments: Any) -> str:
    """Run the command and return what it prints."""
    out = StringIO()
    call_command("verify_audit", *map(str, arguments), stdout=out)
    return out.getvalue()


def failing(*arguments: Any) -> tuple[int, str]:
    """Run the command, which fails, and return its exit code and what it says."""
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    return caught.value.returncode, str(caught.value)


def rotate(file: Path) -> Path:
    call_command("rotate_audit", str(file), stdout=StringIO())
    return file


def test_a_good_trail_is_counted_and_its_head_printed(node: Node) -> None:
    kept = ControlHead.objects.get()

    told = run()

    assert "2 entries (1 to 2), none changed" in told
    assert f"\n2:{kept.audit_hash}\n" in told
    assert "cut off" in told
    assert "cut off" not in run("--head", f"2:{kept.audit_hash}")


def test_a_tampered_trail_fails_and_names_the_entry(node: Node) -> None:
    forge("UPDATE dashboard_auditentry SET actor_name = 'mallory' WHERE n = 2")

    assert failing() == (
        FAULT,
        "the audit trail is not what was written: entry 2 changed: actor_name is not what was written",
    )


def test_missing_triggers_fail_too(node: Node) -> None:
    audit_triggers.remove(connection)

    code, said = failing()

    assert code == FAULT
    assert "unguarded: triggers missing" in said


def test_another_head_than_the_one_kept_fails(node: Node) -> None:
    code, said = failing("--head", "2:" + "f" * 64)

    assert code == FAULT
    assert "exported" in said


def test_the_kept_head_may_be_a_note_or_an_export(node: Node, tmp_path: Path) -> None:
    note, export = tmp_path / "head.txt", tmp_path / "audit.jsonl"
    note.write_text(run().splitlines()[2] + "\n")
    call_command("export_audit", str(export), stdout=StringIO())

    for kept in (note, export):
        assert "none changed" in run("--head", kept)
    forge("DELETE FROM dashboard_auditentry WHERE n = 3")
    first = Head(n=2, hash=note.read_text().strip()[2:])
    ControlHead.objects.update(audit_n=first.n, audit_hash=first.hash)
    assert "none changed" in run("--head", note)
    code, said = failing("--head", export)
    assert code == FAULT
    assert "entry 3 removed: the exported head is 3, the newest entry 2" in said


def test_a_trail_is_verified_across_its_rotations(node: Node, tmp_path: Path) -> None:
    kept = ControlHead.objects.get()
    files = [rotate(tmp_path / f"{n}.jsonl") for n in range(2)]

    told = run("--archive", files[0], "--archive", files[1], "--head", f"2:{kept.audit_hash}")

    assert f"{files[0]}: 2 entries (1 to 2)" in told
    assert f"{files[1]}: 1 entry (3 to 3)" in told
    assert "the audit trail: 1 entry (4 to 4)" in told


def test_a_head_from_before_a_rotation_needs_the_file(node: Node, tmp_path: Path) -> None:
    kept = f"1:{'f' * 64}"
    file = rotate(tmp_path / "1.jsonl")

    code, said = failing("--head", kept)
    assert code == USAGE
    assert "--archive" in said

    code, said = failing("--head", kept, "--archive", file)
    assert code == FAULT
    assert "entry 1 changed: its hash is not the exported one" in said


def test_files_that_do_not_follow_each_other_are_said(node: Node, tmp_path: Path) -> None:
    files = [rotate(tmp_path / f"{n}.jsonl") for n in range(2)]

    code, said = failing("--archive", files[0])

    assert code == FAULT
    assert f"the audit trail does not follow {files[0]}" in said
    assert "does not follow" in failing("--archive", files[1], "--archive", files[0])[1]


def test_a_tampered_file_fails_and_names_the_entry(node: Node, tmp_path: Path) -> None:
    file = rotate(tmp_path / "1.jsonl")
    file.write_text(file.read_text().replace("token.issue", "token.Issue"))

    code, said = failing("--archive", file)

    assert code == FAULT
    assert "1.jsonl is not what was written: entry" in said


def test_a_file_that_is_none_cannot_be_judged(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("hello\n")

    assert failing("--archive", file)[0] == USAGE
    assert failing("--archive", tmp_path / "nowhere")[0] == USAGE


@pytest.mark.parametrize("text", ["", "2", "2:xyz", "-1:" + "f" * 64, "2:" + "F" * 64, "nowhere.txt"])
def test_a_head_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="expected NUMBER:HASH"):
        head(text)
