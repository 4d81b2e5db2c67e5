"""`manage.py ensure_operator`: somebody can sign in. Says nothing when all is as it was."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from dashboard.management.shell import whoever_runs_this
from dashboard.services import people


class Command(BaseCommand):
    """Makes the user `operator`."""

    help = "Make the user `operator` with a random password, printed once; does nothing when it is there."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what can be asked for."""
        parser.add_argument("--new-password", action="store_true", help="print a new one; the old one ends")

    def handle(self, **options: Any) -> None:
        """Make the user, or a new password."""
        password = people.ensure_operator(actor=whoever_runs_this(), new_password=options["new_password"])
        if password is not None:
            self.stdout.write(f"  sign in    {people.OPERATOR} with {password}  (shown this once)")
