"""The arithmetic of the audit chain: what text an entry is, and the hash that ties it to the one before it.

    hash(n) = SHA-256( hash(n - 1) + text(n) )        hash(0) = 64 zeros

The text holds every column of the entry but the text and the hash themselves, so no column can be changed
unseen.
"""

import hashlib
import json
from datetime import UTC
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


def text_of(entry: AuditEntry) -> str:
    """Return the canonical JSON of an entry: sorted keys, no spaces, ASCII, UTC to the microsecond."""
    facts: dict[str, Any] = {column: getattr(entry, column) for column in COLUMNS}
    facts["at"] = entry.at.astimezone(UTC).isoformat(timespec="microseconds")
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)


def link(previous_hash: str, text: str) -> str:
    """Return the hash of the entry with `text` that follows the entry with `previous_hash`."""
    return hashlib.sha256((previous_hash + text).encode()).hexdigest()


def difference(entry: AuditEntry) -> str:
    """Return the first column that isn't what the stored text says, or ""; "canonical": the text is none."""
    if text_of(entry) == entry.canonical:
        return ""
    said, shown = _facts(entry.canonical), _facts(text_of(entry))
    if said is None or shown is None or said.keys() != shown.keys():
        return "canonical"
    # repr: 1 and True are equal, but they are not the same entry
    return next((column for column in COLUMNS if repr(said[column]) != repr(shown[column])), "canonical")


def number_in(text: str) -> int | None:
    """Return the number that an entry's text claims, or None where it claims none."""
    facts = _facts(text)
    n = facts.get("n") if facts else None
    return n if isinstance(n, int) else None


def _facts(text: str) -> dict[str, Any] | None:
    try:
        facts = json.loads(text)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None
