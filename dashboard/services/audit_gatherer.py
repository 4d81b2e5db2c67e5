"""Refusals of strangers and of those without the right, counted by the minute; pure.

    note -> (minute, refusal) + 1        take: the minutes that are over, to be written

Whoever knocks a thousand times a minute gets one entry that says a thousand. At most `KEYS_MAX` kinds of
refusals are told apart in a minute, and at most `MINUTES_MAX` minutes wait for a database that is away; what
is beyond is counted together, so no refusal is lost and memory has a bound.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from dashboard.models import Action
from dashboard.services.actor import Actor

KEYS_MAX = 100
MINUTES_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What is counted together; `who` names no single request or address."""

    who: Actor
    action: Action
    target: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A refusal with its number of times; address, request and reason are those of the first.

    `refusal` None: all that were too many to be told apart.
    """

    refusal: Refusal | None
    first_at: datetime
    last_at: datetime
    count: int = 1
    address: str = ""
    request_id: str = ""
    reason: str = ""

    @property
    def minute(self) -> int:
        """Minutes since 1970."""
        return int(self.first_at.timestamp() // 60)

    def and_also(self, later: "Tally") -> "Tally":
        """Return both as one."""
        return replace(
            self,
            count=self.count + later.count,
            first_at=min(self.first_at, later.first_at),
            last_at=max(self.last_at, later.last_at),
        )


class Gatherer:
    """See the module; not safe for threads."""

    def __init__(self) -> None:
        self._minutes: dict[int, dict[Refusal | None, Tally]] = {}

    def add(self, tally: Tally) -> None:
        """Count a refusal, or give back what could not be written."""
        minute, refusal = tally.minute, tally.refusal
        if minute not in self._minutes and len(self._minutes) >= MINUTES_MAX:
            minute, refusal = max(self._minutes), None
        found = self._minutes.setdefault(minute, {})
        if refusal not in found and len(found.keys() - {None}) >= KEYS_MAX:
            refusal = None
        known = found.get(refusal)
        found[refusal] = known.and_also(tally) if known else replace(tally, refusal=refusal)

    def take(self, *, before: datetime | None) -> list[Tally]:
        """Return what is counted, oldest first, and forget it; of the minutes over at `before`, or of all."""
        over = None if before is None else int(before.timestamp() // 60)
        minutes = sorted(minute for minute in self._minutes if over is None or minute < over)
        return [tally for minute in minutes for tally in self._minutes.pop(minute).values()]

    def give_back(self, tallies: Iterable[Tally]) -> None:
        """Count again what was taken."""
        for tally in tallies:
            self.add(tally)
