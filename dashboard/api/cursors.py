"""Cursors of lists: where a page ends, as text that only the list that gave it can read.

A cursor names the last row's place by its key, so rows that come or go meanwhile neither repeat nor hide
others.
"""

import base64
import binascii
import json
import re
from typing import Any

Place = tuple[int | str, ...]
"""The key of a row: of one column or several. An empty one is the beginning."""

CURSOR_MAX_CHARACTERS = 1000  # the longest key is a node's name and a breaker's, 263 characters
KEY_MAX = 2**63 - 1
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL would refuse it instead of comparing


class BadCursor(ValueError):
    """The text is no cursor of this list."""


def encode(kind: str, place: Place) -> str:
    """Return `place` in the list `kind` as a cursor."""
    text = json.dumps([kind, *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(text: str, kind: str, types: tuple[type, ...]) -> Place:
    """Return the place that a cursor of the list `kind` means; its parts are of `types`. Raises BadCursor."""
    if len(text) > CURSOR_MAX_CHARACTERS:
        raise BadCursor(text)
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        found: Any = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError, binascii.Error) as exc:
        raise BadCursor(text) from exc
    if not isinstance(found, list) or [type(part) for part in found] != [str, *types] or found[0] != kind:
        raise BadCursor(text)
    if not all(_is_key(part) for part in found[1:]):
        raise BadCursor(text)
    return tuple(found[1:])


def _is_key(part: int | str) -> bool:
    return 0 <= part <= KEY_MAX if isinstance(part, int) else not UNSTORABLE.search(part)
