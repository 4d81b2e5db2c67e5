"""`manage.py verify_audit`: is the audit trail what was written?"""

import re
from argparse import ArgumentParser, ArgumentTypeError
from itertools import pairwise
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dashboard.services import audit, audit_archive
from dashboard.services.audit import Head, Verdict
from dashboard.services.audit_archive import NotAnExport

KEPT = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})\s*")
NOTE_MAX_BYTES = 200  # of a file that holds a head alone
FAULT, USAGE = 1, 2  # exit codes: the trail isn't what was written; it couldn't be said


def head(text: str) -> Head:
    """Return the head that somebody kept: itself, a file with it, or an export. Raises ArgumentTypeError."""
    form = KEPT.fullmatch(text)
    if form is not None:
        return Head(n=int(form[1]), hash=form[2])
    path = Path(text)
    try:
        note = path.read_text(encoding="ascii") if path.stat().st_size <= NOTE_MAX_BYTES else ""
        return head(note) if KEPT.fullmatch(note) else audit_archive.head_of(path)
    except (OSError, ValueError) as exc:
        wanted = "NUMBER:HASH as this command printed it, a file with that, or an export in JSON Lines"
        raise ArgumentTypeError(f"{text!r}: {exc}; expected {wanted}") from exc


class Command(BaseCommand):
    """Verifies the chain of audit entries."""

    help = (
        "Walk the whole audit chain. Exit code 0: nothing was changed, removed, inserted or reordered; "
        "1: something was, and it is named; 2: that can't be said."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what can be asked for."""
        parser.add_argument(
            "--head",
            type=head,
            metavar="NUMBER:HASH|FILE",
            help="kept elsewhere from an earlier run or export",
        )
        parser.add_argument(
            "--archive",
            action="append",
            default=[],
            type=Path,
            metavar="FILE",
            help="what a rotation took away, oldest first; may be given several times",
        )

    def handle(self, *, head: Head | None, archive: list[Path], **options: Any) -> None:
        """Verify and say what was found."""
        found = [(str(path), _verified(path, head)) for path in archive]
        found.append(("the audit trail", audit.verify(exported=head)))
        for what, verdict in found:
            if not verdict.ok:
                raise CommandError(f"{what} is not what was written: {_finding(verdict)}", returncode=FAULT)
        for (before, older), (what, verdict) in pairwise(found):
            if verdict.start != older.head:
                said = f"{what} does not follow {before}: it begins behind entry {verdict.start.n}"
                raise CommandError(f"{said}, which is not {older.head.n}:{older.head.hash}", returncode=FAULT)
        if head is not None and not any(_covers(verdict, head) for _, verdict in found):
            said = f"entry {head.n} of --head went into a file with a rotation: give that as --archive"
            raise CommandError(said, returncode=USAGE)
        self._say(found, compared=head is not None)

    def _say(self, found: list[tuple[str, Verdict]], *, compared: bool) -> None:
        for what, verdict in found:
            span = f"{verdict.start.n + 1} to {verdict.head.n}" if verdict.entries else "none"
            entries = "1 entry" if verdict.entries == 1 else f"{verdict.entries} entries"
            self.stdout.write(f"{what}: {entries} ({span}), none changed, removed, inserted or moved.")
        newest = found[-1][1].head
        self.stdout.write(f"Keep this head elsewhere:\n{newest.n}:{newest.hash}")
        if not compared:
            self.stdout.write(
                "Without a head kept earlier (--head) two things don't show: newest entries cut off "
                "together with the control head, and a trail that was written anew as a whole."
            )


def _verified(path: Path, kept: Head | None) -> Verdict:
    """Verify a file, and compare it with the head that was kept if that is in it."""
    try:
        end = audit_archive.head_of(path)
        return audit_archive.verify(path, exported=kept if kept and kept.n <= end.n else None)
    except (NotAnExport, OSError) as exc:
        raise CommandError(f"--archive {path}: {exc}", returncode=USAGE) from exc


def _covers(verdict: Verdict, head: Head) -> bool:
    return verdict.start.n <= head.n <= verdict.head.n


def _finding(verdict: Verdict) -> str:
    entry = "" if verdict.n is None else f"entry {verdict.n} "
    return f"{entry}{verdict.fault}: {verdict.detail}"
