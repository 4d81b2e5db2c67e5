"""The audit trail on its way out, as JSON Lines for machines and as CSV for spreadsheets.

JSON Lines, each line a document:

    {"meshboard_audit": 1, "exported_at": …, "by": …, "filter": {…}, "start": {n, hash}, "head": {n, hash}}
    {"entry": {…}, "hash": …}                 the very text that was hashed, and its hash
    {"end": true, "entries": …, "head": {n, hash}}

The last line says that the file is whole, and its head is what a later verification is compared with. What is
told is what was written: the text that was hashed, whatever may have become of the columns since.
"""

import csv
import enum
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from dashboard.models import Action, AuditEntry, ControlHead
from dashboard.selectors.audit import AuditFilter
from dashboard.services import audit, audit_chain, changes
from dashboard.services.actor import Actor
from dashboard.services.audit_chain import Head

VERSION = 1
PIECE_ROWS = 500  # about 300 kB of text at a time
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what makes a spreadsheet take a text for a formula
UNREADABLE = "this entry is not what was written; verify_audit says more"

Rows = list[tuple[int, str, str]]


class Form(enum.StrEnum):
    """What an export is written as; the values are the endings of files."""

    JSON_LINES = "jsonl"
    CSV = "csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is exported: the entries behind `start` up to `head` that fit `wanted`."""

    wanted: AuditFilter
    start: Head
    head: Head
    by: str
    at: datetime


def begin(*, wanted: AuditFilter, form: Form, actor: Actor, now: datetime) -> Export:
    """Audit that somebody takes the trail out, and return what to write; that entry is its last one."""
    with transaction.atomic():
        head = audit.locked_head()
        audit.record(
            head=head,
            actor=actor,
            action=Action.AUDIT_EXPORT,
            target="audit",
            after={"form": form.value, "filter": wanted.told()},
            now=now,
        )
        changes.publish("audit", now=now)
    return of(head, wanted=wanted, by=actor.name, now=now)


def of(head: ControlHead, *, wanted: AuditFilter, by: str, now: datetime) -> Export:
    """Return the export of all that `head` knows."""
    return Export(
        wanted=wanted,
        start=Head(n=head.start_n, hash=head.start_hash),
        head=Head(n=head.audit_n, hash=head.audit_hash),
        by=by,
        at=now,
    )


def fitting(wanted: AuditFilter, *, at_most: int) -> int:
    """Return how many entries fit, counted no further than one above `at_most`."""
    return AuditEntry.objects.filter(wanted.condition())[: at_most + 1].count()


def pieces(export: Export, form: Form) -> Iterator[str]:
    """Yield the export in bounded pieces; the database is read once for each."""
    return _csv(export) if form is Form.CSV else json_lines(export)


def json_lines(export: Export) -> Iterator[str]:
    """Yield the export as JSON Lines."""
    yield first_line(export)
    count = 0
    for rows in read(export.wanted, behind=export.start.n, up_to=export.head.n):
        count += len(rows)
        yield "".join(entry_line(text, hash) for _, text, hash in rows)
    yield last_line(count, export.head)


def read(wanted: AuditFilter, *, behind: int, up_to: int) -> Iterator[Rows]:
    """Yield numbers, texts and hashes of entries, oldest first, some at a time."""
    entries = AuditEntry.objects.filter(wanted.condition(), n__lte=up_to).order_by("n")
    while rows := list(entries.filter(n__gt=behind).values_list("n", "canonical", "hash")[:PIECE_ROWS]):
        behind = rows[-1][0]
        yield rows


def first_line(export: Export) -> str:
    """Return the line that says what the file is."""
    return _line(
        {
            "meshboard_audit": VERSION,
            "exported_at": audit_chain.stamp(export.at),
            "by": export.by,
            "filter": export.wanted.told(),
            "start": told(export.start),
            "head": told(export.head),
        }
    )


def entry_line(text: str, hash: str) -> str:
    """Return the line of an entry."""
    if audit_chain.facts_of(text) is None:  # somebody changed it; said as it is, and it won't verify
        return _line({"text": text, "hash": hash})
    return f'{{"entry": {text}, "hash": {json.dumps(hash)}}}\n'


def last_line(count: int, head: Head) -> str:
    """Return the line that says that the file is whole."""
    return _line({"end": True, "entries": count, "head": told(head)})


def told(head: Head) -> dict[str, Any]:
    """Return a head as it is told in files and entries."""
    return {"n": head.n, "hash": head.hash}


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document) + "\n"


def _csv(export: Export) -> Iterator[str]:
    columns = (*audit_chain.COLUMNS, "hash")
    yield _written([columns])
    for rows in read(export.wanted, behind=export.start.n, up_to=export.head.n):
        yield _written([_cells(n, text, hash) for n, text, hash in rows])


def _cells(n: int, text: str, hash: str) -> list[str]:
    facts = audit_chain.facts_of(text) or {"n": n, "reason": UNREADABLE}
    return [*(_cell(facts.get(column)) for column in audit_chain.COLUMNS), _cell(hash)]


def _cell(value: Any) -> str:
    """Return a value as a cell; one that a spreadsheet would calculate gets an apostrophe in front."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value)
    return f"'{value}" if value.startswith(FORMULA) else value


def _written(rows: list[Any]) -> str:
    """Return rows as CSV (RFC 4180)."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()
