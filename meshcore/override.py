"""What operators want of breakers, as desired state says it: held open, held closed, or reset (§2).

Desired state is whole: an override that is no longer listed is lifted. What is listed again unchanged is not
carried out again, so a reset happens once. Expiry is a moment in UTC, so an override that a node finds on its
disk after a restart lasts as long as was wanted, and not longer.
"""

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from meshcore.errors import FrameError

OVERRIDES_MAX = 1000  # of one node: far above providers × models × peers that anyone overrides
KEY_MAX_CHARACTERS = 330  # provider, slash, model
RESET_SECONDS = 600.0  # a reset is for nodes that hear of it so soon; a later one would surprise
LIFTED = "no longer wanted"


class Action(enum.StrEnum):
    """What to do with a breaker."""

    FORCE_OPEN = "force_open"
    FORCE_CLOSED = "force_closed"
    RESET = "reset"


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """One operator's word about the breaker `key`: `provider`, `provider/model` or `node:<id>`.

    `expires_at` None lasts until it is no longer wanted; `at` tells a second reset from the first.
    """

    key: Annotated[str, Meta(min_length=1, max_length=KEY_MAX_CHARACTERS)]
    action: Action
    actor: Annotated[str, Meta(max_length=200)] = ""
    reason: Annotated[str, Meta(max_length=1000)] = ""
    at: Annotated[datetime, Meta(tz=True)] | None = None
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class Lift(msgspec.Struct, frozen=True):
    """The breaker `key` goes by its own evidence again."""

    key: str


class Force(msgspec.Struct, frozen=True):
    """Carry out an override now; `seconds` None: without an end."""

    override: Override
    seconds: float | None = None


Move = Lift | Force


def parse_overrides(raw: Sequence[Mapping[str, Any]]) -> tuple[Override, ...]:
    """Return overrides that are right as a whole; FrameError names the one that is wrong."""
    if len(raw) > OVERRIDES_MAX:
        raise FrameError(f"overrides: {len(raw)}, expected at most {OVERRIDES_MAX}")
    parsed = tuple(_parse(place, each) for place, each in enumerate(raw))
    if len({override.key for override in parsed}) < len(parsed):
        raise FrameError("overrides: expected each key once")
    return parsed


def _parse(place: int, raw: Mapping[str, Any]) -> Override:
    try:
        return msgspec.convert(raw, Override)
    except msgspec.ValidationError as exc:
        raise FrameError(f"overrides[{place}]: {exc}") from exc


def next_expiry(overrides: Sequence[Override]) -> datetime | None:
    """Return when the next of them ends that somebody must be told of; the end of a reset is no news."""
    ends = (each.expires_at for each in overrides if each.expires_at and each.action is not Action.RESET)
    return min(ends, default=None)


def expired(overrides: Sequence[Override], *, now: datetime) -> tuple[Override, ...]:
    """Return those whose time is over."""
    return tuple(each for each in overrides if each.expires_at is not None and each.expires_at <= now)


def is_same_wish(held: Override | None, wanted: Override) -> bool:
    """Return whether `wanted` asks for what holds anyway; another end, or a second reset, is another wish."""
    if held is None or wanted.action is Action.RESET or held.expires_at or wanted.expires_at:
        return False
    return (held.action, held.reason) == (wanted.action, wanted.reason)


class OverrideBook:
    """The overrides that a node was told last, by key."""

    def __init__(self) -> None:
        self._held: dict[str, Override] = {}

    def moves(self, wanted: Sequence[Override], *, now: datetime) -> list[Move]:
        """Return what must be done so that `wanted` holds; what has expired by `now` is done with."""
        before, self._held = self._held, {override.key: override for override in wanted}
        lifts = [Lift(key) for key in before if key not in self._held]
        return [
            *lifts,
            *(move for each in wanted if each != before.get(each.key) for move in _carry_out(each, now)),
        ]


def _carry_out(override: Override, now: datetime) -> list[Move]:
    if override.expires_at is None:
        return [Force(override)]
    seconds = (override.expires_at - now).total_seconds()
    return [Force(override, seconds)] if seconds > 0 else [Lift(override.key)]
