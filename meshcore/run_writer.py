"""One writer of one run's log: what it appends, and what it makes of a conflict (runs.md, "The primitive").

    idle ──draft──▶ pending ──stored──▶ idle
                       │
                       └──behind(records)──▶ STORED  it is in the log after all: go on behind it
                                             RETRY   append the same again, at the new head
                                             CANCEL  the run shall end: stop, and write that it did
                                             STOP    the run ended, or is somebody else's now

There is no second guard. A writer whose append neither worked nor failed, because the acknowledgement was
lost, reads on from its head, and finds either its own record or what came instead.
"""

import enum
from collections.abc import Iterable, Sequence

import msgspec

from meshcore.errors import IllegalMove
from meshcore.run_events import AnyEvent, CancelRequested, Claimed, End, Released, name_of
from meshcore.run_record import EMPTY, FORMAT, Head, Record
from meshcore.runs import RunState


class Turn(enum.Enum):
    """What a writer does next."""

    STORED = enum.auto()
    RETRY = enum.auto()
    CANCEL = enum.auto()
    STOP = enum.auto()


class RunWriter:
    """Appends to a run as `instance`; `state` is what it has read and written, `head` where that ends.

    One append at a time, and only what may stand next: raises IllegalMove otherwise.
    """

    def __init__(self, instance: str, state: RunState | None = None, head: Head = EMPTY) -> None:
        self.instance = instance
        self.state = state or RunState()
        self.head = head
        self._pending: Record | None = None

    @property
    def owns(self) -> bool:
        """Whether the run is this writer's, as far as it has read."""
        return self.state.owned_by(self.instance)

    def draft(self, append_id: str, *events: AnyEvent) -> Record:
        """Return the record to append behind `head`; `stored` or `behind` says what became of it."""
        if self._pending is not None:
            raise IllegalMove("pending", "draft")
        if not self.state.allows(events[0]):
            raise IllegalMove(self.state.status, name_of(events[0]))
        self._pending = Record(FORMAT, append_id, self.head.seq + 1, events)
        return self._pending

    def again(self) -> Record:
        """Return the pending record for the present head: the same events under the same id."""
        if self._pending is None:
            raise IllegalMove("idle", "again")
        if self._pending.first_seq != self.head.seq + 1:
            self._pending = msgspec.structs.replace(self._pending, first_seq=self.head.seq + 1)
        return self._pending

    def stored(self, head: Head) -> None:
        """Learn that the pending record is in the log, whose end is `head` now."""
        self.state.apply_all(self.again().events)
        self.head, self._pending = head, None

    def behind(self, records: Iterable[tuple[Record, Head]]) -> Turn:
        """Take what stands behind `head`, each record with the log's end behind it.

        Behind a RETRY the record stays pending. With nothing pending this is reading on: STORED means go on.
        """
        pending, owned, mine, moved = self._pending, self.owns, False, False
        for record, head in records:
            self.state.apply_all(record.events)
            self.head, moved = head, True
            if pending is not None and record.append_id == pending.append_id:
                mine, owned = True, owned or self.owns
        if pending is None:
            return self._found((), owned)
        events = pending.events
        turn = self._found(events, owned) if mine else self._missed(events[0], owned, moved=moved)
        if turn is not Turn.RETRY:
            self._pending = None
        return turn

    def _found(self, events: Sequence[AnyEvent], owned: bool) -> Turn:
        if events and isinstance(events[-1], End | Released):
            return Turn.STORED  # it was this writer's last word
        if self.state.end is not None or (owned and not self.owns):
            return Turn.STOP
        return Turn.CANCEL if owned and self.state.cancelled_by is not None else Turn.STORED

    def _missed(self, first: AnyEvent, owned: bool, *, moved: bool) -> Turn:
        if self.state.end is not None or (owned and not self.owns):
            return Turn.STOP
        if isinstance(first, CancelRequested) and self.state.cancelled_by is not None:
            return Turn.STORED  # another was first, and one is enough
        if owned and self.state.cancelled_by is not None and not self.state.allows(first):
            return Turn.CANCEL
        if (isinstance(first, Claimed) and moved) or not self.state.allows(first):
            return Turn.STOP  # a claim was judged by a log that has moved on: judge anew
        return Turn.RETRY
