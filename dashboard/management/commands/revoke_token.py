"""`manage.py revoke_token PREFIX`: the way to end a token from the shell, dashboard or no dashboard."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dashboard.management.shell import whoever_runs_this
from dashboard.models import Token
from dashboard.services import tokens


class Command(BaseCommand):
    """Ends a token."""

    help = "Revoke a token: its next request is refused, its open connections end."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what can be asked for."""
        parser.add_argument(
            "prefix", help="the 8 characters after msh_, as the Access page and the audit show them"
        )
        parser.add_argument("--reason", default="", help="kept in the audit")

    def handle(self, *, prefix: str, reason: str, **options: Any) -> None:
        """End the token."""
        prefix = prefix.removeprefix(tokens.START)[: tokens.PREFIX_CHARACTERS]  # somebody may give all of it
        token = Token.objects.filter(prefix=prefix).first()
        if token is None:
            raise CommandError(f"prefix {prefix!r}: there is no such token; expected 8 of a-z 0-9")
        changed = tokens.revoke(token=token, actor=whoever_runs_this(), reason=reason)
        self.stdout.write(
            f"Token {token.name} ({token.prefix}) {'is revoked' if changed else 'was revoked before'}."
        )
