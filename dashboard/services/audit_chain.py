"""The arithmetic of the audit chain: what text an entry is, and the hash that ties it to the one before it.

    hash(n) = SHA-256( hash(n - 1) + text(n) )        hash(0) = 64 zeros

The text holds every column of the entry but the text and the hash themselves, so no column can be changed
unseen.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dashboard.models import AuditEntry

GENESIS = "0" * 64

COLUMNS = (
    "n",
    "at",
    "actor_kind",
    "actor_name",
    "actor_id",
    "token_prefix",
    "address",
    "request_id",
    "action",
    "target",
    "before",
    "after",
    "reason",
    "outcome",
    "generation",
    "cause_n",
    "count",
)

_COLUMNS = frozenset(COLUMNS)
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest entry at some moment: what an export keeps, to compare with later."""

    n: int
    hash: str


BEGINNING = Head(n=0, hash=GENESIS)


def text_of(entry: AuditEntry) -> str:
    """Return the canonical JSON of an entry: sorted keys, no spaces, ASCII, UTC to the microsecond."""
    facts: dict[str, Any] = {column: getattr(entry, column) for column in COLUMNS}
    facts["at"] = stamp(entry.at)
    return canonical(facts)


def canonical(document: Any) -> str:
    """Return the one text that stands for a JSON document. Raises ValueError for NaN and infinity."""
    return _encode(document)


def stamp(at: datetime) -> str:
    """Return a moment as it stands in the text."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def link(previous_hash: str, text: str) -> str:
    """Return the hash of the entry with `text` that follows the entry with `previous_hash`."""
    return hashlib.sha256((previous_hash + text).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says: the number that it claims, if any, and the columns, if it is the text of an entry."""

    n: int | None = None
    facts: dict[str, Any] | None = None


def read(text: str) -> Reading:
    """Return what a text says; only the one text that stands for an entry tells its columns."""
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            return Reading()
        n = found.get("n")
        claimed = n if isinstance(n, int) and not isinstance(n, bool) else None
        told = found.keys() == _COLUMNS and canonical(found) == text
    except (ValueError, RecursionError):
        return Reading()
    return Reading(claimed, found if told else None)


def facts_of(text: str) -> dict[str, Any] | None:
    """Return the columns that an entry's text tells, or None where it isn't the text of an entry."""
    return read(text).facts
