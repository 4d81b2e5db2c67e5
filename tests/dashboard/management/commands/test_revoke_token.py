"""`revoke_token`: ends a token by what may be known of it."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dashboard.models import AuditEntry, Scope, Token
from dashboard.services import tokens
from dashboard.services.actor import SYSTEM
from dashboard.services.tokens import TokenRejected

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    """Run the command and return what it prints."""
    out = StringIO()
    call_command("revoke_token", *arguments, stdout=out)
    return out.getvalue()


def test_it_ends_the_token_and_the_audit_knows_who_and_why() -> None:
    token, secret = tokens.issue(name="ci", scopes=[Scope.READ], actor=SYSTEM)

    assert run(token.prefix, "--reason", "leaked") == f"Token ci ({token.prefix}) is revoked.\n"
    assert run(token.prefix) == f"Token ci ({token.prefix}) was revoked before.\n"

    with pytest.raises(TokenRejected, match="revoked"):
        tokens.authenticate(secret, address="127.0.0.1")
    entry = AuditEntry.objects.filter(action="token.revoke").earliest("n")
    assert (entry.target, entry.reason) == (f"token:{token.prefix}", "leaked")
    assert entry.actor_name.startswith("shell:")


def test_a_prefix_that_nobody_has_is_named() -> None:
    with pytest.raises(CommandError, match="prefix 'zzzzzzzz': there is no such token"):
        run("zzzzzzzz")

    assert not Token.objects.exists()


def test_a_whole_secret_names_its_token_and_is_not_repeated() -> None:
    token, secret = tokens.issue(name="ci", scopes=[Scope.READ], actor=SYSTEM)

    assert run(secret) == f"Token ci ({token.prefix}) is revoked.\n"
    with pytest.raises(CommandError, match="prefix 'xxxxxxxx'"):
        run("msh_" + "x" * 60)
