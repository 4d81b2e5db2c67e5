"""What somebody asks of a drain, with its bounds; applied to a new drain or to the one that is on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec import UNSET, UnsetType

from dashboard.models import Drain
from dashboard.services.words import REASON_MAX_CHARACTERS, complaint_about, is_storable

__all__ = ["REASON_MAX_CHARACTERS", "InvalidWish", "Seconds", "Wish", "facts"]

META_MAX_CHARACTERS = 4096  # as JSON
META_MAX_DEPTH = 8
DEADLINE_MAX_SECONDS = 7 * 86_400.0
EXPIRES_MAX_SECONDS = 30 * 86_400.0

Seconds = float | None | UnsetType
"""None: none at all; UNSET: as it is."""


class InvalidWish(ValueError):
    """`field` of a drain request is out of bounds; `message` says the value and what is allowed."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A request for a drain. What is empty, None or UNSET stays as it is when the node drains already.

    `deadline_seconds` and `expires_seconds` count from the request; a deadline of 0 means now and needs
    `force`.
    """

    reason: str = ""
    deadline_seconds: Seconds = UNSET
    force: bool | None = None
    sticky: bool | None = None
    expires_seconds: Seconds = UNSET
    meta: dict[str, Any] | None = None
    override_guards: bool = False

    def __post_init__(self) -> None:
        _check_reason(self.reason)
        _check_meta(self.meta or {})
        if self.deadline_seconds == 0 and not self.force:
            raise InvalidWish("deadline_seconds", "0 means now, which needs force: true")
        if self.deadline_seconds != 0:
            _check_seconds("deadline_seconds", self.deadline_seconds, DEADLINE_MAX_SECONDS)
        _check_seconds("expires_seconds", self.expires_seconds, EXPIRES_MAX_SECONDS)

    def apply_to(self, drain: Drain, *, now: datetime) -> None:
        """Write what is asked into `drain`, without saving it."""
        drain.reason = self.reason or drain.reason
        drain.force = drain.force if self.force is None else self.force
        drain.sticky = drain.sticky if self.sticky is None else self.sticky
        drain.meta = drain.meta if self.meta is None else self.meta
        if not isinstance(self.deadline_seconds, UnsetType):
            drain.deadline_at = _after(now, self.deadline_seconds)
        if not isinstance(self.expires_seconds, UnsetType):
            drain.expires_at = _after(now, self.expires_seconds)


def facts(drain: Drain) -> dict[str, Any]:
    """Return what was asked of a drain as plain JSON: for audit entries, and to see whether it changed."""
    return {
        "reason": drain.reason,
        "deadline_at": _text(drain.deadline_at),
        "force": drain.force,
        "sticky": drain.sticky,
        "expires_at": _text(drain.expires_at),
        "meta": drain.meta,
    }


def _check_reason(reason: str) -> None:
    complaint = complaint_about(reason)
    if complaint:
        raise InvalidWish("reason", complaint)


def _check_meta(meta: dict[str, Any]) -> None:
    if not all(is_storable(text) for text in _texts(meta, depth=META_MAX_DEPTH)):
        raise InvalidWish("meta", "control characters and half surrogate pairs are not allowed")
    try:
        size = len(json.dumps(meta, allow_nan=False))
    except ValueError as exc:
        raise InvalidWish("meta", "numbers have to be finite") from exc
    if size > META_MAX_CHARACTERS:
        raise InvalidWish("meta", f"{size} characters as JSON: at most {META_MAX_CHARACTERS} are allowed")


def _texts(value: Any, *, depth: int) -> Iterator[str]:
    """Yield every key and text in a JSON value. Raises InvalidWish when it is nested deeper than `depth`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        if depth == 0:
            raise InvalidWish("meta", f"nested more than {META_MAX_DEPTH} deep")
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        for part in parts:
            yield from _texts(part, depth=depth - 1)


def _check_seconds(field: str, seconds: Seconds, at_most: float) -> None:
    if seconds is None or isinstance(seconds, UnsetType):
        return
    if not 0 < seconds <= at_most:  # NaN is refused, too
        raise InvalidWish(
            field, f"{str(seconds)[:40]}: expected a number above 0 and up to {at_most:.0f}, or null for none"
        )


def _after(now: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else now + timedelta(seconds=seconds)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
