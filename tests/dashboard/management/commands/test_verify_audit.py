"""`verify_audit`: says what is wrong, and fails."""

from argparse import ArgumentTypeError
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from dashboard.management.commands.verify_audit import head
from dashboard.models import ControlHead, Node
from dashboard.services import audit_triggers
from tests.dashboard.services.trail import forge

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    """Run the command and return what it prints."""
    out = StringIO()
    call_command("verify_audit", *arguments, stdout=out)
    return out.getvalue()


def test_a_good_trail_is_counted_and_its_head_printed(node: Node) -> None:
    kept = ControlHead.objects.get()

    told = run()

    assert "2 entries" in told
    assert f"\n2:{kept.audit_hash}\n" in told
    assert "cut off" in told
    assert "cut off" not in run("--head", f"2:{kept.audit_hash}")


def test_a_tampered_trail_fails_and_names_the_entry(node: Node) -> None:
    forge("UPDATE dashboard_auditentry SET actor_name = 'mallory' WHERE n = 2")

    with pytest.raises(CommandError, match="entry 2 changed: actor_name"):
        run()


def test_missing_triggers_fail_too(node: Node) -> None:
    audit_triggers.remove(connection)

    with pytest.raises(CommandError, match="unguarded: triggers missing"):
        run()


def test_another_head_than_the_one_kept_fails(node: Node) -> None:
    with pytest.raises(CommandError, match="exported"):
        run("--head", "2:" + "f" * 64)


@pytest.mark.parametrize("text", ["", "2", "2:xyz", "-1:" + "f" * 64, "2:" + "F" * 64])
def test_a_head_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="NUMBER:HASH"):
        head(text)
