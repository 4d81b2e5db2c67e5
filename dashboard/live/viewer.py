"""What one open page is owed, and when (dashboard.md, "Live, exactly").

    changes ->  owed  --send-->  unacknowledged  --ack-->  owed …
                                      |
                                      +-- 20 s without an acknowledgement --> give up

At most one message is on its way, so a viewer who reads nothing costs a set of keys. A message goes out at
once when something changed, but never more than four in a second, and every 5 s even when nothing did: the
silence of a dead connection must differ from that of a quiet mesh. Of the four one may come early, which is
left to news: so a breaker doesn't wait behind figures and ages, which change all the time.
"""

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from meshcore.clock import Clock
from meshcore.pace import FOUR_A_SECOND, Pace

ALL = "*"
"""The key that stands for every cell of a page."""


class Act(enum.StrEnum):
    """What to do for a viewer now."""

    WAIT = "wait"
    SEND = "send"
    GIVE_UP = "give up"


class NotSent(ValueError):
    """A page acknowledges a message that it can't have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerPolicy:
    """The rhythm of messages; seconds above zero."""

    gap_seconds: float = FOUR_A_SECOND  # between two messages on average (meshcore.pace)
    quiet_seconds: float = 5.0  # after which one is sent though nothing changed
    ack_seconds: float = 20.0  # without an acknowledgement: the page is gone or hangs
    max_keys: int = 500  # more changed keys than this are one: everything

    def __post_init__(self) -> None:
        if not 0 < self.gap_seconds < self.quiet_seconds < self.ack_seconds or self.max_keys < 1:
            raise ValueError(f"{self}: expected 0 < gap < quiet < ack, and at least one key")


class Owed(NamedTuple):
    """What the next message carries: the keys to render, and how many changes of the page's list."""

    keys: tuple[str, ...]
    list_changes: int


class Viewer:
    """See the module; time is monotonic seconds."""

    def __init__(self, *, clock: Clock, policy: ViewerPolicy | None = None) -> None:
        self._clock = clock
        self._policy = policy or ViewerPolicy()
        self._keys: dict[str, None] = {ALL: None}  # ordered; what the page showed when it came may be old
        self._list_changes = 0
        self._news = True
        self._no = 0  # of the message that was sent last
        self._sent_at = float("-inf")
        self._pace = Pace(self._policy.gap_seconds)
        self._unacknowledged = False

    def changed(self, keys: Collection[str], *, list_changes: int = 0, news: bool = True) -> None:
        """Owe the cells of `keys`, and word of `list_changes` changes to the page's list.

        What is no `news` doesn't come early.
        """
        self._list_changes += list_changes
        self._news |= news and bool(keys or list_changes)
        if ALL in self._keys:
            return
        for key in keys:  # last what changed last: cells of two keys overlap, and the later swap stays
            self._keys.pop(key, None)
            self._keys[key] = None
        if ALL in self._keys or len(self._keys) > self._policy.max_keys:
            self._keys = {ALL: None}

    @property
    def owed(self) -> Owed:
        """What is owed now; viewers who are owed the same can be sent the same message."""
        return Owed(tuple(self._keys), self._list_changes)

    @property
    def is_waiting(self) -> bool:
        """Whether a message is on its way that isn't acknowledged."""
        return self._unacknowledged

    def act(self) -> Act:
        """Return what to do now."""
        if self._clock() < self.next_deadline():
            return Act.WAIT
        return Act.GIVE_UP if self._unacknowledged else Act.SEND

    def next_deadline(self) -> float:
        """Return when `act` wants to be asked again, if nothing comes before."""
        if self._unacknowledged:
            return self._sent_at + self._policy.ack_seconds
        if self._keys or self._list_changes:
            return self._pace.next_at() if self._news else self._pace.rested_at
        return self._sent_at + self._policy.quiet_seconds

    def take(self, no: int) -> None:
        """Note that what is owed goes out as message `no`, above that of the last; it is owed no more."""
        now = self._clock()
        self._no = no
        self._keys, self._list_changes, self._news = {}, 0, False
        self._sent_at = now
        self._pace.said(now)
        self._unacknowledged = True

    def acknowledged(self, no: int) -> None:
        """Note that the page shows message `no`; raises NotSent."""
        if no != self._no or not self._unacknowledged:
            raise NotSent(f"ack={no!r}: expected {self._no if self._unacknowledged else 'none'}")
        self._unacknowledged = False
