"""`manage.py rotate_audit FILE`: the audit trail into a file, and a new chain behind its end."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dashboard.management.shell import whoever_runs_this
from dashboard.services import audit_rotate
from dashboard.services.audit_rotate import NotRotated


class Command(BaseCommand):
    """Rotates the audit trail."""

    help = (
        "Move all audit entries into a new file of JSON Lines and begin a chain that follows from its end. "
        "The file is whole and on disk before anything is taken away; keep it: verify_audit --archive FILE."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what can be asked for."""
        parser.add_argument("file", type=Path, help="a name that ends in .jsonl; it must not be there")
        parser.add_argument("-m", "--reason", default="", help="kept in the audit")

    def handle(self, *, file: Path, reason: str, **options: Any) -> None:
        """Rotate and say what became of it."""
        if file.suffix != ".jsonl":
            raise CommandError(f"{file}: expected a name that ends in .jsonl")
        try:
            done = audit_rotate.rotate(path=file.absolute(), actor=whoever_runs_this(), reason=reason)
        except (NotRotated, OSError) as exc:
            raise CommandError(f"nothing was taken away: {exc}") from exc
        self.stdout.write(
            f"{done.entries} entries are in {file}, with the head {done.head.n}:{done.head.hash}.\n"
            f"Entry {done.first.n} is the first of those that follow."
        )
