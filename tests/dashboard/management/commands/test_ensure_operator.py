"""`ensure_operator`: prints a login once."""

from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from dashboard.models import AuditEntry

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    """Run the command and return what it prints."""
    out = StringIO()
    call_command("ensure_operator", *arguments, stdout=out)
    return out.getvalue()


def password_in(told: str) -> str:
    """Return the password that was printed."""
    return told.split(" with ")[1].split()[0]


def test_the_first_start_prints_a_login_and_the_second_nothing() -> None:
    told = run()

    assert "operator" in told
    assert User.objects.get().check_password(password_in(told))
    assert run() == ""


def test_a_new_password_is_printed_and_audited() -> None:
    old = run()

    told = run("--new-password")

    assert password_in(told) != password_in(old)
    assert User.objects.get().check_password(password_in(told))
    assert AuditEntry.objects.get(action="password.new").actor_name.startswith("shell:")
