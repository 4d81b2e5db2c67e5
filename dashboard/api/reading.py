"""What an address's query asks for: parameters that are known, a cursor, a bounded number of rows."""

from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from rest_framework.request import Request

from dashboard.api import cursors
from dashboard.api.body import is_storable
from dashboard.api.cursors import BadCursor, Place
from dashboard.api.operation import LIMIT_DEFAULT, LIMIT_MAX, VALUE_MAX_CHARACTERS, Operation
from dashboard.api.problems import Problem
from dashboard.selectors.keyset import Cursor

KEY_DIGITS_MAX = 19
SHOWN_CHARACTERS = 80


class Query:
    """The query of an operation's address.

    Raises Problem 400 for a parameter that is unknown, there twice or out of bounds: an unknown one that was
    ignored could have meant "only try", or "only this node".
    """

    def __init__(self, request: Request, operation: Operation) -> None:
        self._path = request.path
        self._operation = operation
        self._given: dict[str, str] = {}
        known = [each.name for each in operation.filters] + (["cursor", "limit"] if operation.cursor else [])
        for key, values in request.query_params.lists():
            if key not in known:
                allowed = ", ".join(known) or "none"
                raise _refused(key, f"Unknown parameter {_shown(key)}; allowed are {allowed}.")
            if len(values) > 1:
                raise _refused(key, f"{key} is there {len(values)} times; expected it once.")
            self._given[key] = values[0]
        for name, value in self._given.items():
            _check(name, value)
        for each in operation.filters:
            if each.choices and self[each.name] not in ("", *each.choices):
                choices = ", ".join(each.choices)
                said = f"{each.name} is {_shown(self[each.name])}; expected one of {choices}."
                raise _refused(each.name, said)
        self.limit = self._limit()
        self.place = self._place()

    def __getitem__(self, name: str) -> str:
        """Return what a parameter asks for, "" for anything."""
        return self._given.get(name, "")

    @property
    def cursor(self) -> Cursor:
        """Where the page begins in a list that is paged by one number."""
        return Cursor(before=int(self.place[0]) if self.place else None)

    def page(self, results: Any, *, end: Place | None) -> dict[str, Any]:
        """Return a page as it is sent; `next` is the address of the page behind `end`, None at the last."""
        if end is None:
            return {"results": results, "next": None}
        cursor = cursors.encode(self._operation.name, end)
        return {"results": results, "next": f"{self._path}?{urlencode({**self._given, 'cursor': cursor})}"}

    def _place(self) -> Place:
        if not self["cursor"]:
            return ()
        try:
            return cursors.decode(self["cursor"], self._operation.name, self._operation.cursor)
        except BadCursor as exc:
            said = "cursor is none of this list; take the whole address from `next` of the page before."
            raise _refused("cursor", said) from exc

    def _limit(self) -> int:
        text = self["limit"]
        if not text:
            return LIMIT_DEFAULT
        if not is_key(text) or not 1 <= int(text) <= LIMIT_MAX:
            raise _refused("limit", f"limit is {_shown(text)}; expected a number from 1 to {LIMIT_MAX}.")
        return int(text)


def is_key(text: str) -> bool:
    """Return whether `text` is a number that a key can be."""
    digits = text.isascii() and text.isdigit() and len(text) <= KEY_DIGITS_MAX
    return digits and int(text) <= cursors.KEY_MAX


def _check(name: str, value: str) -> None:
    if len(value) > VALUE_MAX_CHARACTERS:
        raise _refused(name, f"{name} has {len(value)} characters; at most {VALUE_MAX_CHARACTERS} can be.")
    if not is_storable(value):
        raise _refused(name, f"{name}: control characters are not allowed.")


def _shown(text: str) -> str:
    return repr(text[:SHOWN_CHARACTERS])


def _refused(field: str, detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, detail, field=field[:SHOWN_CHARACTERS])
