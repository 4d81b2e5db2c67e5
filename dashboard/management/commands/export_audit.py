"""`manage.py export_audit FILE`: the audit trail as JSON Lines or CSV."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dashboard.management.shell import whoever_runs_this
from dashboard.models import Action, Outcome
from dashboard.selectors.audit import AuditFilter
from dashboard.services import audit_archive, audit_export
from dashboard.services.audit_export import Form
from meshcore.clock import utcnow


def moment(text: str) -> datetime:
    """Return a moment with its zone. Raises ArgumentTypeError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ArgumentTypeError(f"{text!r}: expected a moment like 2026-01-31T12:00:00Z") from exc
    if found.tzinfo is None:
        raise ArgumentTypeError(f"{text!r}: expected a moment with its zone, as 2026-01-31T12:00:00Z")
    return found


class Command(BaseCommand):
    """Exports the audit trail."""

    help = "Write the audit trail to a new file; that somebody did is itself audited."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what can be asked for."""
        parser.add_argument(
            "file", type=Path, help="a name that ends in .jsonl or .csv; it must not be there"
        )
        parser.add_argument("--actor", default="", help="what this person, token or node did")
        parser.add_argument("--action", default="", choices=[each.value for each in Action])
        parser.add_argument("--target", default="", help="as node:node-a; without a kind it is a node")
        parser.add_argument("--outcome", default="", choices=[each.value for each in Outcome])
        parser.add_argument("--text", default="", help="somewhere in the reason")
        parser.add_argument("--since", type=moment, help="from this moment on, as 2026-01-31T12:00:00Z")
        parser.add_argument("--until", type=moment, help="before this moment")

    def handle(self, *, file: Path, **options: Any) -> None:
        """Write the file and say with which head it ends."""
        form = _form(file)
        wanted = AuditFilter(**{name: options[name] for name in AuditFilter.__dataclass_fields__})
        try:
            with audit_archive.new(file) as archive:
                export = audit_export.begin(wanted=wanted, form=form, actor=whoever_runs_this(), now=utcnow())
                for piece in audit_export.pieces(export, form):
                    archive.write(piece)
                archive.finish()
        except OSError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"{file}, with the head {export.head.n}:{export.head.hash}")


def _form(file: Path) -> Form:
    ending = file.suffix.removeprefix(".")
    if ending not in set(Form):
        raise CommandError(f"{file}: expected a name that ends in .jsonl or .csv")
    return Form(ending)
