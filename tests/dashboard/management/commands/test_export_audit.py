"""`export_audit`: a file that wasn't there, filters that hold, and an entry about it."""

from argparse import ArgumentTypeError
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dashboard.management.commands.export_audit import moment
from dashboard.models import AuditEntry, ControlHead, Node
from dashboard.services import audit_archive

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("export_audit", *arguments, stdout=out)
    return out.getvalue()


def test_the_file_is_the_trail_and_its_head_is_printed(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"

    told = run(str(file))

    assert audit_archive.verify(file).ok
    assert ControlHead.objects.get().audit_hash in told
    entry = AuditEntry.objects.latest("n")
    assert entry.action == "audit.export"
    assert entry.actor_name.startswith("shell:")


def test_filters_hold_in_both_forms(node: Node, tmp_path: Path) -> None:
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.csv"

    run(str(lines), "--action", "node.add", "--until", "2026-01-02T00:00:00Z")
    run(
        str(table), "--target", "node-a", "--since", "2026-01-01T00:00:00Z", "--outcome", "done", "--text", ""
    )

    assert len(lines.read_text().splitlines()) == 3
    assert len(table.read_text().splitlines()) == 2


@pytest.mark.parametrize("name", ["audit.txt", "audit"])
def test_a_name_without_a_known_ending_is_refused(name: str, node: Node, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"ends in \.jsonl or \.csv"):
        run(str(tmp_path / name))


def test_a_file_that_is_there_stays_and_nothing_is_audited(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "audit.csv"
    file.write_text("mine")

    with pytest.raises(CommandError, match="is there already"):
        run(str(file))

    assert file.read_text() == "mine"
    assert not AuditEntry.objects.filter(action="audit.export").exists()


def test_a_folder_that_is_not_there_is_said(node: Node, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        run(str(tmp_path / "nowhere" / "audit.csv"))


def test_a_moment_needs_its_zone() -> None:
    assert moment("2026-01-31T12:00:00Z").isoformat() == "2026-01-31T12:00:00+00:00"
    for text in ("yesterday", "2026-01-31T12:00:00"):
        with pytest.raises(ArgumentTypeError, match="expected a moment"):
            moment(text)
