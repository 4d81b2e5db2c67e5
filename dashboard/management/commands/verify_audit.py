"""`manage.py verify_audit`: is the audit trail what was written?"""

import re
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dashboard.services import audit
from dashboard.services.audit import Head, Verdict

HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


def head(text: str) -> Head:
    """Return the head that somebody kept. Raises ArgumentTypeError."""
    form = HEAD.fullmatch(text)
    if form is None:
        raise ArgumentTypeError(f"{text!r}: expected NUMBER:HASH as this command printed it")
    return Head(n=int(form[1]), hash=form[2])


class Command(BaseCommand):
    """Verifies the chain of audit entries."""

    help = "Walk the whole audit chain; exit 0 when nothing was changed, removed, inserted or reordered."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what can be asked for."""
        parser.add_argument("--head", type=head, help="NUMBER:HASH, kept elsewhere from an earlier run")

    def handle(self, **options: Any) -> None:
        """Verify and say what was found."""
        verdict = audit.verify(exported=options["head"])
        if not verdict.ok:
            raise CommandError(f"the audit trail is not what was written: {_finding(verdict)}")
        self.stdout.write(f"{verdict.entries} entries, none changed. Keep this head elsewhere:")
        self.stdout.write(f"{verdict.head.n}:{verdict.head.hash}")
        if options["head"] is None:
            self.stdout.write(
                "Without a head kept earlier, newest entries cut off together with the head don't show."
            )


def _finding(verdict: Verdict) -> str:
    entry = "" if verdict.n is None else f"entry {verdict.n} "
    return f"{entry}{verdict.fault}: {verdict.detail}"
