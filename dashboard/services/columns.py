"""What a column can hold: what nodes say is made to fit, or refused, before the database sees it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import connection

from meshcore.frames import Frame

COUNT_MAX = (1 << 31) - 1
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # a stamp outside is a broken clock or a broken sender
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
LONGEST = timedelta(days=3650)

_JSON = msgspec.json.Encoder()
_NUL, _REPLACEMENT = b"\\u0000", b"\\ufffd"  # as JSON; PostgreSQL takes NUL in no text


class Unfit(ValueError):
    """A value can't be kept; the message names it and what is allowed."""


def without_nul(json: bytes | msgspec.Raw) -> bytes:
    """Return JSON text without NUL characters."""
    return bytes(json).replace(_NUL, _REPLACEMENT)


def json_text(value: Any) -> str:
    """Return structs or plain values, free of NUL, as the text that a JSON column takes from a bare row."""
    return _JSON.encode(value).decode()


def stamp_adapter() -> Callable[[datetime], Any]:
    """Return what makes of an aware stamp the value that the database's driver takes from a bare row.

    It is Django's `adapt_datetimefield_value` at an eighth of its time, which counts once for each item.
    """
    return _as_text if connection.vendor == "sqlite" else _as_it_is


def _as_text(at: datetime) -> str:
    return str(at.astimezone(UTC).replace(tzinfo=None))


def _as_it_is(at: datetime) -> datetime:
    return at


def plain(struct: msgspec.Struct) -> Any:
    """Return what a struct is in JSON, as dicts and lists that any JSON column takes."""
    return msgspec.json.decode(without_nul(msgspec.json.encode(struct)))


def clean(frame: Frame) -> Any:
    """Return the same frame without NUL characters."""
    return msgspec.json.decode(without_nul(msgspec.json.encode(frame)), type=type(frame))


def key(name: str, text: str, *, most: int) -> str:
    """Return a text that identifies something.

    Raises Unfit when it is empty or doesn't fit: cut, it would lie.
    """
    if not 0 < len(text) <= most:
        raise Unfit(f"{name} of {len(text)} characters: expected 1 to {most}")
    return text


def count(name: str, number: int | None) -> int | None:
    """Return a number; raises Unfit when it doesn't fit."""
    if number is not None and not 0 <= number <= COUNT_MAX:
        raise Unfit(f"{name}={number}: expected 0 to {COUNT_MAX}")
    return number


def duration(name: str, milliseconds: float | None) -> float | None:
    """Return a duration; raises Unfit when it is none."""
    if milliseconds is not None and not 0 <= milliseconds <= LONGEST.total_seconds() * 1000:
        raise Unfit(f"{name}={milliseconds}: expected milliseconds from 0")
    return milliseconds


def stamp(name: str, at: datetime) -> datetime:
    """Return an aware stamp; raises Unfit when it is naive or of no time that we live in."""
    if at.tzinfo is None:
        raise Unfit(f"{name}={at.isoformat()}: expected a time zone")
    if not EARLIEST <= at < LATEST:
        raise Unfit(f"{name}={at.isoformat()}: expected {EARLIEST.year} to {LATEST.year}")
    return at


def until(now: datetime, seconds: float | None) -> datetime | None:
    """Return when a countdown ends; one without end in sight ends with the longest that is kept."""
    if seconds is None:
        return None
    return now + timedelta(seconds=min(max(seconds, 0.0), LONGEST.total_seconds()))
