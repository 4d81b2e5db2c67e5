"""`manage.py add_token NAME --scope …`: the way to a token from the shell."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dashboard.management.shell import whoever_runs_this
from dashboard.models import Node, Scope
from dashboard.services import tokens


class Command(BaseCommand):
    """Makes a token."""

    help = "Make a token and print it once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what can be asked for."""
        parser.add_argument("name", help="what the audit trail calls its holder")
        parser.add_argument(
            "--scope",
            action="append",
            required=True,
            choices=[scope.value for scope in Scope],
            help="may be given several times",
        )
        parser.add_argument("--node", help="with nodes:push: the node that it is for")
        parser.add_argument("--network", action="append", default=[], help="only from there, as 10.0.0.0/8")
        parser.add_argument("--expires-seconds", type=float, help="not given: never")

    def handle(self, **options: Any) -> None:
        """Make the token."""
        try:
            token, secret = tokens.issue(
                name=options["name"],
                scopes=[Scope(scope) for scope in options["scope"]],
                actor=whoever_runs_this(),
                node=_node(options["node"]),
                networks=options["network"],
                expires_seconds=options["expires_seconds"],
            )
        except tokens.InvalidToken as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(
            f"Token {token.name} with {', '.join(token.scopes)}, shown this once:\n\n  {secret}"
        )


def _node(name: str | None) -> Node | None:
    if name is None:
        return None
    node = Node.objects.filter(name=name).first()
    if node is None:
        raise CommandError(f"--node {name!r}: there is no such node; add_node adds one")
    return node
