"""What an entry holds is made so that every database gives back just what it was given.

PostgreSQL takes no NUL in a text, cuts nothing to its column, and keeps JSON numbers as decimals: 1e16 comes
back as an integer. So texts lose what can't be kept, and whole numbers are whole in JSON too, before the
entry is hashed.
"""

import json
import re
from typing import Any

from dashboard.models import AuditEntry

REPLACEMENT = "\ufffd"
UNKEPT = re.compile("[\x00\ud800-\udfff]")  # no text of PostgreSQL's, or none of UTF-8's
TEXTS: dict[str, int | None] = {  # column: characters that it holds, None for any number
    field.name: getattr(field, "max_length", None)
    for field in AuditEntry._meta.fields
    if field.get_internal_type() in {"CharField", "TextField"} and field.name not in {"canonical", "hash"}
}
DOCUMENTS = ("before", "after")


def fit(entry: AuditEntry) -> None:
    """Make an entry what any database can keep; raises ValueError for a number that is none."""
    for name, at_most in TEXTS.items():
        setattr(entry, name, text(getattr(entry, name))[:at_most])
    for name in DOCUMENTS:
        setattr(entry, name, document(getattr(entry, name)))


def text(given: str) -> str:
    """Return a text without what can't be kept."""
    return UNKEPT.sub(REPLACEMENT, given)


def document(given: Any) -> Any:
    """Return plain JSON as it will come back: sorted keys, no number that is written in two ways."""
    return json.loads(json.dumps(_plain(given), sort_keys=True, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {text(str(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return text(value) if isinstance(value, str) else value
