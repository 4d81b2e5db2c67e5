"""What a list is asked for: filters that are known, a cursor, a bounded number of rows."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from rest_framework.request import Request

from dashboard.api.problems import Problem
from dashboard.selectors.keyset import Cursor

LIMIT_DEFAULT = 50
LIMIT_MAX = 500
KEY_MAX = 2**63 - 1
DIGITS = re.compile(r"[0-9]{1,19}")
VALUE_MAX_CHARACTERS = 250


class Query:
    """The query of a list's address. Raises Problem 400 for a parameter that is unknown or out of bounds."""

    def __init__(self, request: Request, *, filters: Iterable[str]) -> None:
        self._path = request.path
        self._given = {key: request.query_params[key] for key in request.query_params}
        known = [*filters, "cursor", "limit"]
        for key, value in self._given.items():
            if key not in known:
                raise _refused(key, f"Unknown parameter {key[:80]!r}; allowed are {', '.join(known)}.")
            if len(value) > VALUE_MAX_CHARACTERS or "\x00" in value:
                raise _refused(key, f"{key} is longer than {VALUE_MAX_CHARACTERS} characters, or has a NUL.")
        self.limit = self._number("limit", LIMIT_DEFAULT, LIMIT_MAX)
        before = self._number("cursor", 0, KEY_MAX)
        self.cursor = Cursor(before=before or None)

    def filter(self, name: str) -> str:
        """Return what a filter asks for, "" for anything."""
        return self._given.get(name, "")

    def page(self, results: Any, *, older: int | None) -> dict[str, Any]:
        """Return a page as it is sent; `next` is the address of the page behind it."""
        address = f"{self._path}?{urlencode({**self._given, 'cursor': older})}" if older is not None else None
        return {"results": results, "next": address}

    def _number(self, key: str, default: int, at_most: int) -> int:
        text = self._given.get(key, "")
        if not text:
            return default
        if not is_key(text) or not 1 <= int(text) <= at_most:
            raise _refused(key, f"{key} is {text[:80]!r}; expected a number from 1 to {at_most}.")
        return int(text)


def is_key(text: str) -> bool:
    """Return whether `text` is a number that a key can be."""
    return bool(DIGITS.fullmatch(text)) and int(text) <= KEY_MAX


def _refused(field: str, detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, detail, field=field[:80])
