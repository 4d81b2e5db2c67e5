"""What an address's query asks for: parameters that are known, a cursor, a bounded number of rows."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

from rest_framework import serializers
from rest_framework.request import Request

from dashboard.api import cursors
from dashboard.api.body import is_line
from dashboard.api.cursors import BadCursor, Place
from dashboard.api.operation import LIMIT_DEFAULT, LIMIT_MAX, NUMBER_MAX, Filter, Operation
from dashboard.api.problems import Problem
from dashboard.selectors.keyset import Cursor, Page

T = TypeVar("T")
Serializer = type[serializers.BaseSerializer[Any]]

KEY_DIGITS_MAX = 19
NUMBER = re.compile(r"[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?", re.ASCII)  # as JSON has it
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
            if not is_line(values[0]):
                raise _refused(key, f"{key}: line breaks and control characters are not allowed.")
        for each in operation.filters:
            self._check(each)
        self.limit = self._limit()
        self.place = self._place()

    def __getitem__(self, name: str) -> str:
        """Return what a parameter asks for, "" for anything."""
        return self._given.get(name, "")

    def moment(self, name: str) -> datetime | None:
        """Return the moment that a parameter asks for, None for any. Raises Problem 400."""
        if not self[name]:
            return None
        try:
            found = datetime.fromisoformat(self[name])
            at = None if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            at = None
        if at is None:
            said = (
                f"{name} is {_shown(self[name])}; expected a time with its offset, as 2026-01-31T12:00:00Z."
            )
            raise _refused(name, said)
        return at

    def number(self, name: str) -> float | None:
        """Return the number that a parameter asks for, None for any. Raises Problem 400."""
        text = self[name]
        if not text:
            return None
        if not NUMBER.fullmatch(text) or not 0 <= float(text) <= NUMBER_MAX:
            raise _refused(name, f"{name} is {_shown(text)}; expected a number from 0 to {NUMBER_MAX:g}.")
        return float(text)

    @property
    def cursor(self) -> Cursor:
        """Where the page begins in a list that is paged by one number."""
        return Cursor(before=int(self.place[0]) if self.place else None)

    def numbered(self, rows: Sequence[Any], row: Serializer, *, older: int | None) -> dict[str, Any]:
        """Return a page of a list that is paged by one number; `older`: what follows is below it."""
        return self._page(row(rows, many=True).data, end=None if older is None else (older,))

    def sliced(self, found: Sequence[T], row: Serializer, *, key: Callable[[T], Place]) -> dict[str, Any]:
        """Return the beginning of `found`, the rows behind the cursor, as a page; `key` is a row's place."""
        rows = found[: self.limit]
        more = len(found) > len(rows)
        return self._page(row(rows, many=True).data, end=key(rows[-1]) if more else None)

    def _page(self, results: Any, *, end: Place | None) -> dict[str, Any]:
        if end is None:
            return {"results": results, "next": None}
        cursor = cursors.encode(self._operation.name, end)
        return {"results": results, "next": f"{self._path}?{urlencode({**self._given, 'cursor': cursor})}"}

    def _check(self, wanted: Filter) -> None:
        name, value = wanted.name, self[wanted.name]
        if wanted.required and name not in self._given:
            raise _refused(name, f"The parameter {name} is missing.")
        if name in self._given and not value and not wanted.may_be_empty:
            raise _refused(name, f"{name} is empty; leave it out for anything.")
        if len(value) > wanted.at_most:
            raise _refused(name, f"{name} has {len(value)} characters; at most {wanted.at_most} can be.")
        if value and wanted.choices and value not in wanted.choices:
            choices = ", ".join(wanted.choices)
            raise _refused(name, f"{name} is {_shown(value)}; expected one of {choices}.")

    def _place(self) -> Place:
        if "cursor" not in self._given:
            return ()
        try:
            return cursors.decode(self["cursor"], self._operation.name, self._operation.cursor)
        except BadCursor as exc:
            said = "cursor is none of this list; take the whole address from `next` of the page before."
            raise _refused("cursor", said) from exc

    def _limit(self) -> int:
        if "limit" not in self._given:
            return LIMIT_DEFAULT
        text = self["limit"]
        if not is_key(text) or not 1 <= int(text) <= LIMIT_MAX:
            raise _refused("limit", f"limit is {_shown(text)}; expected a number from 1 to {LIMIT_MAX}.")
        return int(text)


def older_of(page: Page[Any]) -> int | None:
    """Return below which number a list goes on, also where a search gave up; None at its end."""
    return page.older if page.older is not None else page.searched_to


def is_key(text: str) -> bool:
    """Return whether `text` is a number that a key can be."""
    digits = text.isascii() and text.isdigit() and len(text) <= KEY_DIGITS_MAX
    return digits and int(text) <= cursors.KEY_MAX


def _shown(text: str) -> str:
    return repr(text[:SHOWN_CHARACTERS])


def _refused(field: str, detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, detail, field=field[:SHOWN_CHARACTERS])
