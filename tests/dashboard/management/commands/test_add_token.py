"""`add_token`: a token from the shell."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dashboard.models import Node, Token
from dashboard.services import tokens

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    """Run the command and return the token it prints."""
    out = StringIO()
    call_command("add_token", *arguments, stdout=out)
    return out.getvalue().split()[-1]


def test_it_prints_a_token_with_the_scopes_asked_for() -> None:
    secret = run(
        "ci",
        "--scope",
        "nodes:drain",
        "--scope",
        "read",
        "--network",
        "127.0.0.0/8",
        "--expires-seconds",
        "60",
    )

    token = tokens.authenticate(secret, address="127.0.0.1")
    assert (token.name, token.scopes, token.networks) == ("ci", ["nodes:drain", "read"], ["127.0.0.0/8"])
    assert token.expires_at is not None


def test_a_node_gets_another_token_of_its_own(node: Node) -> None:
    secret = run("node-a again", "--scope", "nodes:push", "--node", "node-a")

    assert tokens.authenticate(secret, address="127.0.0.1").node == node


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ci",), "--scope"),
        (("ci", "--scope", "explode"), r"'explode' \(choose from 'read', 'audit:read'"),
        (("ci", "--scope", "nodes:push"), "bound to one node"),
        (("ci", "--scope", "nodes:push", "--node", "node-z"), "node-z"),
        (("ci", "--scope", "read", "--network", "here"), "here"),
        (("ci", "--scope", "read", "--expires-seconds", "-1"), "-1"),
        (("ci", "--scope", "read", "--expires-seconds", "1e300"), "at most"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        run(*arguments)

    assert not Token.objects.exists()
