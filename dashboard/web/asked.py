"""What a list's address asks for: filters and cursor, checked, so that a typo is no silent empty list."""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from dashboard.selectors.keyset import Cursor
from dashboard.services import columns

KEY_MAX = 2**63 - 1
KEY = re.compile(r"[0-9]{1,19}")  # longer ones are no keys, and Python refuses to read the longest
NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")
PAUSE = "pause"


class BadQuery(ValueError):
    """The address asks for something that can't be; the text names key, value and what is allowed."""


def cursor(query: Mapping[str, str]) -> Cursor:
    """Return where the page begins; raises BadQuery."""
    return Cursor(before=key(query, "before"), after=key(query, "after"))


def tail(query: Mapping[str, str], page: str) -> str:
    """Return `page` while the newest rows are shown, so that new ones come by themselves; "" when paused."""
    return "" if query.keys() & {"before", "after", PAUSE} else page


def text(query: Mapping[str, str], key: str, *, at_most: int) -> str:
    """Return a trimmed text, "" when there is none; raises BadQuery."""
    value = query.get(key, "").strip()
    if len(value) > at_most:
        raise BadQuery(f"{key}: {len(value)} characters; at most {at_most} can match.")
    if "\x00" in value:
        raise BadQuery(f"{key}: has a NUL, which stands in no text here.")
    return value


def choice(query: Mapping[str, str], key: str, allowed: Collection[str]) -> str:
    """Return one of `allowed`, "" when none is asked for; raises BadQuery."""
    value = query.get(key, "").strip()
    if value and value not in allowed:
        raise BadQuery(f"{key}={value!r}: expected one of {', '.join(allowed) or 'none yet'}.")
    return value


def number(query: Mapping[str, str], key: str, *, at_most: float) -> float | None:
    """Return a number from 0 to `at_most`, None when none is asked for; raises BadQuery."""
    value = query.get(key, "").strip()
    if not value:
        return None
    if not NUMBER.fullmatch(value) or float(value) > at_most:
        raise BadQuery(f"{key}={value[:40]!r}: expected a number from 0 to {at_most:g}.")
    return float(value)


def moment(query: Mapping[str, str], key: str) -> datetime | None:
    """Return a moment, in UTC where it names no zone; None when there is none. Raises BadQuery."""
    value = query.get(key, "").strip()
    if not value:
        return None
    try:
        found = datetime.fromisoformat(value)
        return columns.stamp(key, found if found.tzinfo else found.replace(tzinfo=UTC))
    except ValueError as exc:
        expected = "a moment in UTC from 2000 to 2200, as 2026-01-31T12:00"
        raise BadQuery(f"{key}={value[:40]!r}: expected {expected}.") from exc


def key(query: Mapping[str, str], name: str) -> int | None:
    """Return the key of a row, None when none is asked for; raises BadQuery."""
    value = query.get(name, "")
    if not value:
        return None
    if not KEY.fullmatch(value) or int(value) > KEY_MAX:
        raise BadQuery(f"{name}={value[:40]!r}: expected a key from the list's own links.")
    return int(value)
