"""Bodies of writes: strict, because one that was misread must never act.

A body is a JSON object whose keys and values are all known. A `Shape` says which, and documents it: what the
schema shows is what is checked. Bounds of values are judged by the services that know them.
"""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn

from rest_framework.request import Request

from dashboard.api.problems import Problem
from dashboard.services.words import is_storable

JSON = "application/json"
BODY_MAX_BYTES = 64 << 10
SHOWN_CHARACTERS = 80  # of what somebody sent, in an answer
LINE_BREAKS = frozenset("\n\r\t")


class BodyError(ValueError):
    """The body says something that isn't allowed; `field` names it, "" stands for the body as a whole."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be: in words, as a check, and as JSON Schema."""

    expected: str
    fits: Callable[[Any], bool]
    schema: Mapping[str, Any]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and all(LINE.fits(each) for each in value)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_lines(each) for each in value.values())


# As services.words, for JSON Schema; a text may have several lines, a name may not.
WITHOUT_CONTROL = "^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f]*$"
ONE_LINE = "^[^\\x00-\\x1f\\x7f-\\x9f]*$"
TEXT = Kind("text", lambda value: isinstance(value, str), {"type": "string", "pattern": WITHOUT_CONTROL})
LINE = Kind(
    "one line of text",
    lambda value: isinstance(value, str) and is_line(value),
    {"type": "string", "pattern": ONE_LINE},
)
FLAG = Kind("true or false", lambda value: isinstance(value, bool), {"type": "boolean"})
SECONDS = Kind(
    "a number of seconds, or null for none",
    lambda value: value is None or _is_number(value),
    {"type": ["number", "null"], "minimum": 0},
)
OBJECT = Kind("an object", lambda value: isinstance(value, dict), {"type": "object"})
LINES = Kind("a list of lines of text", _is_lines, {"type": "array", "items": LINE.schema})
TABLE = Kind(
    "an object of lists of lines of text",
    _is_table,
    {"type": "object", "additionalProperties": LINES.schema},
)


def is_line(text: str) -> bool:
    """Return whether a text can be kept, and is no second line where it is written into a log."""
    return is_storable(text) and not LINE_BREAKS.intersection(text)


def choice(allowed: Collection[str]) -> Kind:
    """Return the kind of a text that is one of `allowed`."""
    values = [str(each) for each in allowed]
    schema = {"type": "string", "enum": values}
    return Kind(" or ".join(values), lambda value: isinstance(value, str) and value in values, schema)


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a body; `bounds` go into its JSON Schema and are judged by the service."""

    kind: Kind
    says: str
    required: bool = False
    bounds: Mapping[str, Any] = field(default_factory=dict)

    def schema(self) -> dict[str, Any]:
        """Return the key as JSON Schema."""
        return {**self.kind.schema, **self.bounds, "description": self.says}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Which keys a body has; one without a required key may be no body at all."""

    keys: Mapping[str, Key]
    example: Mapping[str, Any]

    def read(self, raw: bytes) -> dict[str, Any]:
        """Return what a body says. Raises BodyError."""
        document = decode(raw) if raw else {}
        self.check(document)
        return document

    def check(self, document: Mapping[str, Any], *, of: str = "") -> None:
        """Raise BodyError for the first key that is unknown, missing or of another kind."""
        for name, value in document.items():
            if name not in self.keys:
                known = ", ".join(self.keys) or "none"
                said = f"Unknown key {_short(name)}{of}; allowed are {known}."
                raise BodyError(said, field=_name(name))
            expect(name, value, self.keys[name].kind)
        for name in self.required:
            if name not in document:
                raise BodyError(f"The key {_short(name)} is missing.", field=name)

    @property
    def required(self) -> list[str]:
        """The keys that must be there."""
        return [name for name, key in self.keys.items() if key.required]

    def schema(self) -> dict[str, Any]:
        """Return the body as JSON Schema."""
        properties = {name: key.schema() for name, key in self.keys.items()}
        schema = {"type": "object", "properties": properties, "additionalProperties": False}
        return {**schema, "required": self.required} if self.required else schema


def expect(name: str, value: Any, kind: Kind) -> None:
    """Raise BodyError unless the value of the key `name` is of that kind."""
    if not kind.fits(value):
        raise BodyError(f"{name} is {_short(value)}; expected {kind.expected}.", field=name)


def raw_json(request: Request) -> bytes:
    """Return the body as it came. Raises Problem 413 or 415.

    Read from the stream: without Content-Length the framework's parsers take a body for none, and a chunked
    "cancel" would drain. Zero bytes are no body whatever media type they claim.
    """
    raw: bytes = request.read(BODY_MAX_BYTES + 1)
    if len(raw) > BODY_MAX_BYTES:
        said = f"The body is larger than {BODY_MAX_BYTES} bytes."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said)
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if raw and coding not in {"", "identity"}:
        said = f"The body is coded as {coding[:SHOWN_CHARACTERS]!r}; expected it as it is."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, said, headers={"Accept-Encoding": "identity"})
    if raw and _media_type(request) not in {"", JSON}:
        said = f"The body is {_media_type(request)[:SHOWN_CHARACTERS]!r}; expected {JSON} in UTF-8."
        accept = "Accept-Post" if request.method == "POST" else "Accept"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, said, headers={accept: JSON})
    return raw


def no_body(request: Request) -> None:
    """Raise Problem 400 when there is a body where none is read: it would be ignored, which nobody wants."""
    if request.read(1):
        said = f"{request.method} takes no body; what it is told goes into the address, as ?reason=."
        raise Problem(HTTPStatus.BAD_REQUEST, said)


def decode(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in `raw`. Raises BodyError."""
    try:
        document = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_without_doubles,
            parse_constant=_no_constant,
        )
    except BodyError:
        raise
    except (ValueError, RecursionError) as exc:
        # broken JSON, bytes that are no UTF-8, a number or nesting too long
        raise BodyError("The body is not JSON.") from exc
    if not isinstance(document, dict):
        raise BodyError(f"The body is {_kind(document)}; expected a JSON object.")
    for name, value in document.items():
        _check_leaves(name, value)
    return document


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two parsers could read a repeated key differently: one would drain, the other cancel."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BodyError(f"The key {_short(key)} is there twice.", field=_name(key))
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise BodyError(f"{name} is not JSON.")


def _check_leaves(name: str, value: Any) -> None:
    for leaf in _leaves([name, value]):
        if isinstance(leaf, str) and not is_storable(leaf):
            said = f"{_name(name)}: control characters and half surrogate pairs are not allowed."
            raise BodyError(said, field=_name(name))
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise BodyError(f"{_name(name)}: numbers have to be finite.", field=_name(name))


def _leaves(parts: list[Any]) -> Iterator[Any]:
    """Yield every key and plain value below `parts`; without recursion, however deep somebody nested them."""
    left = list(parts)
    while left:
        value = left.pop()
        if isinstance(value, list):
            left.extend(value)
        elif isinstance(value, dict):
            left.extend([*value, *value.values()])
        else:
            yield value


def _media_type(request: Request) -> str:
    """Return the media type in lower case, with its charset when that isn't UTF-8."""
    media_type, _, parameters = request.headers.get("Content-Type", "").lower().partition(";")
    charset = parameters.strip().removeprefix("charset=").strip('"')
    if charset in {"", "utf-8", "utf8"}:
        return media_type.strip()
    return f"{media_type.strip()}; {parameters.strip()}"


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return KINDS[type(value)]


def _short(value: Any) -> str:
    return _kind(value) if isinstance(value, dict | list) else json.dumps(value)[:SHOWN_CHARACTERS]


def _name(key: str) -> str:
    """A key may hold half a surrogate pair, which no answer could carry."""
    return key.encode("ascii", "backslashreplace").decode()[:SHOWN_CHARACTERS]


KINDS: dict[type, str] = {
    str: "a string",
    list: "a list",
    dict: "an object",
    int: "a number",
    float: "a number",
}
