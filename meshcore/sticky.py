"""Sticky sessions: calls of one session go where its last one was served (bus-and-breaker §1).

A session rebinds whenever another provider serves it, so also after a failover. It is forgotten after
10 minutes without a call; beyond `sessions_max` the one that was idle longest is.
"""

from collections.abc import Sequence
from typing import NamedTuple

from meshcore.clock import Clock
from meshcore.registry import EntryKey
from meshcore.routing import Ranked

IDLE_SECONDS = 600.0
SESSIONS_MAX = 10_000  # some 3 MB
UNAVAILABLE_GROUP = 2  # a candidate whose own node refuses it now is no place to stay


class Session(NamedTuple):
    """What sticks: a session's calls of one capability for one model, as it was asked for."""

    capability: str
    model: str
    session_id: str


class _Seat(NamedTuple):
    entry: EntryKey
    model: str
    used_at: float


class Sessions:
    """Where sessions are bound to; `clock` gives monotonic seconds."""

    def __init__(
        self, *, clock: Clock, idle_seconds: float = IDLE_SECONDS, sessions_max: int = SESSIONS_MAX
    ) -> None:
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._sessions_max = sessions_max
        self._seats: dict[Session, _Seat] = {}  # the one that was idle longest first

    def __len__(self) -> int:
        return len(self._seats)

    def seat_of(self, session: Session, ordered: Sequence[Ranked]) -> Ranked | None:
        """Return the candidate where the session sits, or None when it must find another place."""
        seat = self._seats.get(session)
        if seat is None or self._is_over(seat, self._clock()):
            return None
        return next((ranked for ranked in ordered if _is_at(ranked, seat)), None)

    def bind(self, session: Session, entry: EntryKey, model: str) -> None:
        """Let the session stay where it was just served."""
        now = self._clock()
        self._seats.pop(session, None)
        self._seats[session] = _Seat(entry, model, now)
        while self._seats and (
            len(self._seats) > self._sessions_max or self._is_over(next(iter(self._seats.values())), now)
        ):
            del self._seats[next(iter(self._seats))]

    def _is_over(self, seat: _Seat, now: float) -> bool:
        return now - seat.used_at >= self._idle_seconds


def _is_at(ranked: Ranked, seat: _Seat) -> bool:
    return (ranked.entry.key, ranked.model) == seat[:2] and ranked.group != UNAVAILABLE_GROUP
