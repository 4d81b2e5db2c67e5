"""What a list's address asks for: filters and cursor, checked, so that a typo is no silent empty list."""

import re
from collections.abc import Collection, Mapping

from dashboard.selectors.keyset import Cursor

KEY_MAX = 2**63 - 1
KEY = re.compile(r"[0-9]{1,19}")  # longer ones are no keys, and Python refuses to read the longest
PAUSE = "pause"


class BadQuery(ValueError):
    """The address asks for something that can't be; the text names key, value and what is allowed."""


def cursor(query: Mapping[str, str]) -> Cursor:
    """Return where the page begins; raises BadQuery."""
    return Cursor(before=_key(query, "before"), after=_key(query, "after"))


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


def _key(query: Mapping[str, str], name: str) -> int | None:
    value = query.get(name, "")
    if not value:
        return None
    if not KEY.fullmatch(value) or int(value) > KEY_MAX:
        raise BadQuery(f"{name}={value[:40]!r}: expected a key from the list's own links.")
    return int(value)
