"""What an entry changed, as lines to read: one for each value that is, was, or stayed."""

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LINES_MAX = 200  # of one entry; a table of aliases may be long
VALUE_MAX_CHARACTERS = 500
CUT = "…"


class Kind(enum.StrEnum):
    """What became of a value."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    SAME = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One value by its path, as "aliases.fast"; before and after are text, "" where there was none."""

    path: str
    kind: Kind
    before: str = ""
    after: str = ""


def lines(before: Any, after: Any) -> tuple[Line, ...]:
    """Return the lines, what changed first; at most `LINES_MAX`, the last then says how many more."""
    old, new = dict(_flat(before)), dict(_flat(after))
    found = [_line(path, old.get(path), new.get(path)) for path in old | new]
    found.sort(key=lambda line: line.kind is Kind.SAME)
    if len(found) <= LINES_MAX:
        return tuple(found)
    more = Line(path=f"{len(found) - LINES_MAX} more", kind=Kind.SAME, before=CUT, after=CUT)
    return (*found[:LINES_MAX], more)


def _line(path: str, old: str | None, new: str | None) -> Line:
    if old is None or new is None:
        kind = Kind.ADDED if old is None else Kind.REMOVED
    else:
        kind = Kind.SAME if old == new else Kind.CHANGED
    return Line(path=path, kind=kind, before=_cut(old or ""), after=_cut(new or ""))


def _flat(document: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of a document with their paths; a list is one value."""
    if document is None and not path:
        return
    if isinstance(document, dict) and document:
        for key, value in document.items():
            yield from _flat(value, f"{path}.{key}" if path else key)
    else:
        yield path or "value", _words(document)


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value or '""'
    if value is None:
        return "none"
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_MAX_CHARACTERS else text[: VALUE_MAX_CHARACTERS - 1] + CUT
