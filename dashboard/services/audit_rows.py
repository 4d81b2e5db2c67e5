"""Audit entries as the database keeps them, byte for byte and with their types.

Read through the model, a changed row may look as it was: SQLite keeps 1, '1' and x'31' apart in one column,
and a date with another character between day and hour is the same date. So verification compares what is
stored with what the entry's own text says must be stored.
"""

import json
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from dashboard.models import AuditEntry, ControlHead
from dashboard.services import audit_chain
from dashboard.services.audit_chain import Head
from dashboard.services.audit_columns import DOCUMENTS

TABLE = AuditEntry._meta.db_table
HEAD_TABLE = ControlHead._meta.db_table
HEAD_ID = 1  # there is one row
CHUNK_ROWS = 2000  # entries in memory at a time, about 4 MB
KEPT = (*audit_chain.COLUMNS, "canonical", "hash")
ENDS = ("audit_n", "audit_hash", "start_n", "start_hash")
NUMBERS = frozenset({"n", "generation", "cause_n", "count", "audit_n", "start_n"})
DIGITS = re.compile(r"[0-9]{1,19}")
HASH = re.compile(r"[0-9a-f]{64}")

Cell = tuple[str, bytes]
"""A value as it is stored: the name of its type, and its bytes."""

NULL: Cell = ("null", b"")


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as it is stored; `n` None: what stands there is no whole number."""

    n: int | None
    cells: dict[str, Cell]

    def text(self, column: str) -> str:
        """Return a column's text, or "" where none is."""
        kind, stored = self.cells[column]
        try:
            return stored.decode() if kind == "text" else ""
        except UnicodeDecodeError:
            return ""


@dataclass(frozen=True, slots=True)
class Ends:
    """Where the chain begins, behind `start`, and where it ends, by the control head."""

    start: Head
    head: Head


class Sqlite:
    """Keeps any type in any column, and JSON and moments as text."""

    def selected(self, column: str) -> str:
        """Return SQL for what `cells` reads of a column."""
        return f'typeof("{column}"), CAST("{column}" AS BLOB)'

    def cells(self, columns: Sequence[str], values: Sequence[Any]) -> Iterator[Cell]:
        """Yield the cells of a row."""
        for kind, stored in zip(values[::2], values[1::2], strict=True):
            yield kind, bytes(stored or b"")

    def moment(self, at: datetime) -> str:
        """Return how a moment is stored."""
        return str(at.astimezone(UTC).replace(tzinfo=None))

    def holds(self, cell: Cell, document: Any) -> bool:
        """Return whether a cell is a JSON document as Django writes it; the order of keys is its own."""
        kind, stored = cell
        if kind != "text" or stored == json.dumps(document).encode():
            return kind == "text"
        found = json.loads(stored)
        return json.dumps(found).encode() == stored and _same(found, document)


class PostgreSQL:
    """Keeps nothing but the column's own type, so a value's text says all."""

    def selected(self, column: str) -> str:
        """Return SQL for what `cells` reads of a column."""
        if column == "at":
            return """to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00 "AD')"""
        return f"{column}::text"

    def cells(self, columns: Sequence[str], values: Sequence[Any]) -> Iterator[Cell]:
        """Yield the cells of a row."""
        for column, value in zip(columns, values, strict=True):
            kind = "integer" if column in NUMBERS else "text"
            yield NULL if value is None else (kind, value.encode())

    def moment(self, at: datetime) -> str:
        """Return how a moment is told."""
        return f"{audit_chain.stamp(at)} AD"

    def holds(self, cell: Cell, document: Any) -> bool:
        """Return whether a cell is a JSON document; keys have the order of the database."""
        return _exact(cell[1].decode()) == _exact(audit_chain.canonical(document))


_SQLITE, _POSTGRESQL = Sqlite(), PostgreSQL()


def read(connection: BaseDatabaseWrapper, *, up_to: int) -> Generator[Row, None, None]:
    """Yield the entries with numbers up to `up_to`, in order, and whatever stands before them."""
    keeps = _keeping(connection)
    sql = f"SELECT n, {_all(keeps, KEPT)} FROM {TABLE} WHERE n <= %s ORDER BY {TABLE}.n"  # noqa: S608 - constants
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, [up_to])
        while chunk := cursor.fetchmany(CHUNK_ROWS):
            for n, *values in chunk:
                cells = dict(zip(KEPT, keeps.cells(KEPT, values), strict=True))
                yield Row(n if isinstance(n, int) else None, cells)


def newest(connection: BaseDatabaseWrapper) -> int | str | None:
    """Return the highest number of an entry, as text where it is none; None where there is no entry."""
    keeps = _keeping(connection)
    sql = f"SELECT {keeps.selected('n')} FROM {TABLE} ORDER BY {TABLE}.n DESC LIMIT 1"  # noqa: S608 - constants
    with connection.cursor() as cursor:
        cursor.execute(sql)
        found = cursor.fetchone()
    if found is None:
        return None
    [(kind, stored)] = keeps.cells(["n"], found)
    return int(stored) if kind == "integer" else stored.decode(errors="replace")


def ends(connection: BaseDatabaseWrapper) -> Ends | None:
    """Return the chain's ends by the control head, or None where that holds no numbers and hashes."""
    keeps = _keeping(connection)
    sql = f"SELECT {_all(keeps, ENDS)} FROM {HEAD_TABLE} WHERE id = %s"  # noqa: S608 - constants
    with connection.cursor() as cursor:
        cursor.execute(sql, [HEAD_ID])
        found = cursor.fetchone()
    if found is None:
        return Ends(audit_chain.BEGINNING, audit_chain.BEGINNING)
    cells = list(keeps.cells(ENDS, found))
    newest, start = _head(*cells[:2]), _head(*cells[2:])
    return Ends(start, newest) if start and newest else None


def _head(n: Cell, hash: Cell) -> Head | None:
    if (n[0], hash[0]) != ("integer", "text"):
        return None
    number, text = (value.decode(errors="replace") for _, value in (n, hash))
    return Head(n=int(number), hash=text) if DIGITS.fullmatch(number) and HASH.fullmatch(text) else None


def _all(keeps: "Sqlite | PostgreSQL", columns: Sequence[str]) -> str:
    return ", ".join(keeps.selected(column) for column in columns)


def difference(row: Row, facts: dict[str, Any], connection: BaseDatabaseWrapper) -> str:
    """Return the first column of a row that isn't stored as `facts`, of its own text, demand, or ""."""
    keeps, cells = _keeping(connection), row.cells
    for column in audit_chain.COLUMNS:
        if not _is(cells[column], column, facts[column], keeps):
            return column
    return ""


def _is(cell: Cell, column: str, value: Any, keeps: Sqlite | PostgreSQL) -> bool:
    if value is None or cell == NULL:
        return value is None and cell == NULL
    try:
        if column in DOCUMENTS:
            return keeps.holds(cell, value)
        stored = keeps.moment(datetime.fromisoformat(value)) if column == "at" else str(value)
    except (ValueError, TypeError, RecursionError):
        return False
    return cell == ("integer" if column in NUMBERS else "text", stored.encode())


def _exact(text: str) -> str:
    """Return one text for a document in which 1.5 and 1.50 differ, but not 1e-7 and 0.0000001."""
    return audit_chain.canonical(json.loads(text, parse_float=lambda number: f"\0{Decimal(number)}"))


def _same(found: Any, document: Any) -> bool:
    return audit_chain.canonical(found) == audit_chain.canonical(document)


def _keeping(connection: BaseDatabaseWrapper) -> Sqlite | PostgreSQL:
    return _POSTGRESQL if connection.vendor == "postgresql" else _SQLITE
