"""The body of `POST /nodes/{id}/drain`: strict, because a body that was misread must never drain.

Zero bytes and `{}` mean drain. Anything else has to be a JSON object whose keys and values are all known.
"""

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

BODY_MAX_BYTES = 64 << 10
SHOWN_CHARACTERS = 80  # of what somebody sent, in an answer


class DrainAction(enum.StrEnum):
    """What may be asked for."""

    DRAIN = "drain"
    CANCEL = "cancel"


class BodyError(ValueError):
    """The body says something that isn't allowed; `field` names it, "" stands for the body as a whole."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What the body asks for; `wishes` are keywords of `services.drain.request` or `cancel`."""

    action: DrainAction = DrainAction.DRAIN
    wishes: dict[str, Any] = field(default_factory=dict)


def parse(raw: bytes) -> Ask:
    """Return what a body asks for. Raises BodyError."""
    if not raw:
        return Ask()
    document = _decode(raw)
    if not isinstance(document, dict):
        raise BodyError(f"The body is {_kind(document)}; expected a JSON object, or no body at all.")
    action = _action(document.pop("action", DrainAction.DRAIN.value))
    allowed = CANCEL_KEYS if action is DrainAction.CANCEL else DRAIN_KEYS
    for key, value in document.items():
        if key not in allowed:
            known = ", ".join(["action", *allowed])
            raise BodyError(
                f"Unknown key {_short(key)} for {action.value}; allowed are {known}.", field=_name(key)
            )
        expected = allowed[key](value)
        if expected:
            raise BodyError(f"{key} is {_short(value)}; expected {expected}.", field=key)
    return Ask(action=action, wishes=document)


def _decode(raw: bytes) -> Any:
    try:
        return json.loads(
            raw.decode("utf-8"), object_pairs_hook=_without_doubles, parse_constant=_no_constant
        )
    except BodyError:
        raise
    except (
        ValueError,
        RecursionError,
    ) as exc:  # broken JSON, bytes that are no UTF-8, a number or nesting too long
        raise BodyError("The body is not JSON.") from exc


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


def _action(value: Any) -> DrainAction:
    if isinstance(value, str) and value in set(DrainAction):
        return DrainAction(value)
    raise BodyError(f"Unknown action {_short(value)}; allowed are drain and cancel.", field="action")


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else "text"


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _seconds(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if value is None or is_number else "a number of seconds, or null for none"


def _object(value: Any) -> str:
    return "" if isinstance(value, dict) else "an object"


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
Check = Callable[[Any], str]
"""Returns what was expected of a value, "" when it is that; bounds are judged by `services.drain_wish`."""

CANCEL_KEYS: dict[str, Check] = {"reason": _text}
DRAIN_KEYS: dict[str, Check] = {
    "reason": _text,
    "deadline_seconds": _seconds,
    "force": _flag,
    "sticky": _flag,
    "expires_seconds": _seconds,
    "meta": _object,
    "override_guards": _flag,
}
