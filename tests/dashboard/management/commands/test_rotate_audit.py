"""`rotate_audit`: says what it took away, or that it took nothing."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dashboard.models import AuditEntry, ControlHead, Node
from dashboard.services import audit, audit_archive
from tests.dashboard.services.trail import forge

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("rotate_audit", *arguments, stdout=out)
    return out.getvalue()


def test_the_trail_is_in_the_file_and_goes_on(node: Node, tmp_path: Path) -> None:
    before = ControlHead.objects.get()

    told = run(str(tmp_path / "audit.jsonl"), "-m", "spring")

    assert "2 entries are in" in told
    assert f"2:{before.audit_hash}" in told
    assert "Entry 3 is the first" in told
    assert AuditEntry.objects.get().reason == "spring"
    assert audit_archive.verify(tmp_path / "audit.jsonl").ok
    assert audit.verify().ok


@pytest.mark.parametrize(
    ("name", "words"), [("audit.csv", "ends in .jsonl"), ("there.jsonl", "is there already")]
)
def test_a_file_that_cannot_be_is_refused(name: str, words: str, node: Node, tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").touch()

    with pytest.raises(CommandError, match=words):
        run(str(tmp_path / name))

    assert AuditEntry.objects.count() == 2


def test_a_tampered_trail_is_left_alone(node: Node, tmp_path: Path) -> None:
    forge("UPDATE dashboard_auditentry SET reason = 'x' WHERE n = 1")

    with pytest.raises(CommandError, match="nothing was taken away: the trail is not what was written"):
        run(str(tmp_path / "audit.jsonl"))
