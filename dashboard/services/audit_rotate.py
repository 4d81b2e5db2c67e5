"""The trail made shorter without a gap: all entries go into a file, and a new chain follows from their end.

    export -> read back -> lock the head -> the rest -> read back, on disk -> empty the table, first entry

Whatever ends the process before the last commit leaves the trail as it was, and perhaps a file more. The
first entry of the new chain names the head of the old one, numbers go on, and the triggers are there again
before anybody else can write.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from django.db import connection, transaction

from dashboard.models import Action, AuditEntry, ControlHead
from dashboard.selectors.audit import AuditFilter
from dashboard.services import audit, audit_archive, audit_export, audit_triggers, audit_walk, changes
from dashboard.services.actor import Actor
from dashboard.services.audit_archive import Archive, Reader
from dashboard.services.audit_chain import Head
from dashboard.services.audit_verify import Verdict
from meshcore.clock import utcnow

logger = logging.getLogger(__name__)

ALL = AuditFilter()
TABLE = AuditEntry._meta.db_table


class NotRotated(Exception):
    """Nothing was taken away; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What was taken away, and the first entry of the chain that follows."""

    entries: int
    head: Head
    first: AuditEntry


def rotate(*, path: Path, actor: Actor, reason: str = "", now: datetime | None = None) -> Rotated:
    """Move all entries into the new file `path` and begin a chain that follows from the last of them.

    Control writes wait only while what was written meanwhile is added and the table is emptied. Raises
    NotRotated when the trail isn't what was written, FileExistsError, and OSError when the file can't be.
    """
    now = now or utcnow()
    verdict = audit.verify()
    if not verdict.ok:
        raise NotRotated(f"the trail is not what was written: {verdict.fault}, {verdict.detail}")
    with audit_archive.new(path) as archive, archive.part.open(encoding="utf-8", newline="") as file:
        reader = _export(archive, verdict, file, by=actor.name, now=now)
        with transaction.atomic():
            head = audit.locked_head()
            taken = _finish(archive, reader, head)
            first = _begin_anew(head, taken, path, actor=actor, reason=reason, now=now)
    logger.info("%d audit entries went to %s; entry %d follows", taken.n - verdict.start.n, path, first.n)
    return Rotated(entries=taken.n - verdict.start.n, head=taken, first=first)


def _export(archive: Archive, verdict: Verdict, file: IO[str], *, by: str, now: datetime) -> Reader:
    """Write what is there, and read it back."""
    export = audit_export.Export(wanted=ALL, start=verdict.start, head=verdict.head, by=by, at=now)
    archive.write(audit_export.first_line(export))
    _copy(archive, behind=export.start, up_to=export.head)
    reader = Reader(file)
    _read_on(reader, up_to=export.head)
    return reader


def _finish(archive: Archive, reader: Reader, head: ControlHead) -> Head:
    """Write what came since, read it back, and let the file be there; the head is locked."""
    newest = Head(n=head.audit_n, hash=head.audit_hash)
    _copy(archive, behind=reader.reached, up_to=newest)
    archive.write(audit_export.last_line(newest.n - reader.start.n, newest))
    archive.sync()
    _read_on(reader, up_to=newest)
    if reader.end != newest:
        raise NotRotated("the file can't be read back to its end")
    archive.finish()
    return newest


def _copy(archive: Archive, *, behind: Head, up_to: Head) -> None:
    for rows in audit_export.read(ALL, behind=behind.n, up_to=up_to.n):
        archive.write("".join(audit_export.entry_line(text, hash) for _, text, hash in rows))
    archive.sync()


def _read_on(reader: Reader, *, up_to: Head) -> None:
    reader.read_on()
    if reader.finding is not None or reader.reached != up_to:
        said = reader.finding.detail if reader.finding else f"it ends with entry {reader.reached.n}"
        raise NotRotated(f"what was written to the file is not the trail up to entry {up_to.n}: {said}")


def _begin_anew(
    head: ControlHead, taken: Head, path: Path, *, actor: Actor, reason: str, now: datetime
) -> AuditEntry:
    entries = taken.n - head.start_n
    audit_triggers.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {TABLE}")  # noqa: S608 - a constant
    head.start_n, head.start_hash = taken.n, taken.hash
    head.save(update_fields=["start_n", "start_hash"])
    first = audit.record(
        head=head,
        actor=actor,
        action=Action.AUDIT_ROTATE,
        target="audit",
        after={"head": audit_walk.rotation(taken), "entries": entries, "file": str(path)},
        reason=reason,
        now=now,
    )
    audit_triggers.install(connection)
    changes.publish("audit", now=now)
    return first
