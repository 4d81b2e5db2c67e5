"""A run is a log, and what stands in it decides everything (runs.md).

    (nothing) ──created──▶ queued ──claimed──▶ running ──end──▶ completed | failed | cancelled
                              │                 │    ▲
                              │   released, or  │    │ claimed: continued or restarted
                              │   owner is dead ▼    │
                              │                waiting
                              └──any of the three──cancel_requested──▶ cancelling ──end──▶ cancelled

The last `claimed` names the owner. Nothing else does: whoever lost the run finds out because its next append
conflicts. `fold` reads a log, `RunState.apply` takes one event; what may stand next is in `apply`, too, so no
writer can put into a log what a reader would not understand. The first `end` wins.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, TypeGuard

import msgspec

from meshcore.errors import IllegalMove
from meshcore.run_events import (
    DELTA,
    TERMINAL,
    AnyEvent,
    CancelRequested,
    ChunkEvent,
    Claimed,
    ClaimReason,
    Created,
    End,
    Released,
    RunStatus,
    name_of,
    read_delta,
    size_of,
)

TAKEOVERS_MAX = 3  # claims of a run whose owner died; behind a fourth death it has failed
_CHUNKS = {ChunkEvent}
_INDEX, _FINISH_REASON, _FRAME = attrgetter("index"), attrgetter("finish_reason"), attrgetter("frame")


class RunState:
    """What a log says up to `last_seq`. Not to be changed but by `apply`."""

    __slots__ = (
        *("_beyond_text", "_texts", "_unread", "cancelled_by", "chunks", "claims", "created", "end"),
        *("finish_reason", "frame", "generation_seq", "last_seq", "next_index", "owner", "released"),
        *("releases", "size_bytes", "takeovers"),
    )

    def __init__(self) -> None:
        self.last_seq = 0
        self.created: Created | None = None
        self.owner: Claimed | None = None  # the last claim, also behind its release
        self.claims: list[tuple[int, Claimed]] = []  # all of them, each with its seq
        self.released = False
        self.releases = 0
        self.cancelled_by: str | None = None
        self.end: End | None = None
        self.takeovers = 0
        self.generation_seq = 1  # where the present generation begins: the beginning, or the last restart
        self.next_index = 1
        self.chunks = 0  # in the whole log
        self.size_bytes = 0  # of their deltas
        self.finish_reason = ""  # of the present generation, as the next two
        self.frame: dict[str, Any] | None = None  # that it began with
        self._unread: list[msgspec.Raw] = []  # its deltas, of which a run that goes well needs no text
        self._texts: list[str] = []
        self._beyond_text = False

    @property
    def status(self) -> RunStatus:
        """How the run stands by its log alone; that its owner is dead a log can't say."""
        if self.end is not None:
            return self.end.status
        if self.cancelled_by is not None:
            return RunStatus.CANCELLING
        if self.owner is None:
            return RunStatus.QUEUED
        return RunStatus.WAITING if self.released else RunStatus.RUNNING

    @property
    def epoch(self) -> int:
        """How often the run was claimed."""
        return self.owner.epoch if self.owner else 0

    @property
    def text(self) -> str:
        """The answer of the present generation so far."""
        self._read()
        return "".join(self._texts)

    @property
    def beyond_text(self) -> bool:
        """Whether there is more answer in the present generation than text, such as a tool call."""
        self._read()
        return self._beyond_text

    def owned_by(self, instance: str) -> bool:
        """Return whether `instance` may append chunks."""
        return self.owner is not None and not self.released and self.owner.instance == instance

    def apply(self, event: AnyEvent) -> None:
        """Take the next event. Raises IllegalMove, and then nothing has changed.

        Behind the `end` everything is ignored: who wrote it had not read that far.
        """
        if self.end is None:
            if not self.allows(event):
                raise IllegalMove(self.status if self.created else "nothing", name_of(event))
            self._take(event)
        self.last_seq += 1

    def apply_all(self, events: Sequence[AnyEvent]) -> None:
        """Take the next events, those of one append; as `apply`, one after the other.

        Nearly all records are chunks, or chunks and an end: the chunks are taken at once.
        """
        chunks = events if isinstance(events[-1], ChunkEvent) else events[:-1]
        if chunks and self._go_on(chunks):
            self._add_all(chunks)
            self.last_seq += len(chunks)
            events = events[len(chunks) :]
        for event in events:
            self.apply(event)

    def allows(self, event: AnyEvent) -> bool:
        """Return whether `event` may stand next; behind the end nothing may."""
        if isinstance(event, ChunkEvent):  # first, for nearly all are
            return self._goes_on(event)
        if self.end is not None:
            return False
        if isinstance(event, Created) or self.created is None:
            return isinstance(event, Created) and self.created is None
        match event:
            case Claimed():
                return self.cancelled_by is None and self._continues_history(event)
            case CancelRequested():
                return self.cancelled_by is None
            case Released():
                return self.owner is not None and not self.released
            case _:
                return event.status in self._possible_ends() and event.final_seq == self.last_seq + 1

    def _goes_on(self, chunk: ChunkEvent) -> bool:
        is_running = self.owner is not None and not self.released
        is_to_end = self.end is not None or self.cancelled_by is not None
        return is_running and not is_to_end and chunk.index == self.next_index

    def _go_on(self, events: Sequence[AnyEvent]) -> TypeGuard[Sequence[ChunkEvent]]:
        """Return whether events are chunks that may stand next."""
        first = events[0]
        if not (isinstance(first, ChunkEvent) and self._goes_on(first) and set(map(type, events)) == _CHUNKS):
            return False
        return list(map(_INDEX, events)) == list(range(self.next_index, self.next_index + len(events)))

    def _continues_history(self, claim: Claimed) -> bool:
        if claim.epoch != self.epoch + 1 or (self.owner is None) is not (claim.reason is ClaimReason.STARTED):
            return False
        restarts = claim.reason is ClaimReason.RESTARTED
        return claim.superseded_from == (self.generation_seq if restarts else None)

    def _possible_ends(self) -> frozenset[RunStatus]:
        if self.cancelled_by is not None:
            return frozenset({RunStatus.CANCELLED})
        if self.status is RunStatus.RUNNING:
            return TERMINAL
        return frozenset({RunStatus.FAILED})

    def _take(self, event: AnyEvent) -> None:
        match event:
            case ChunkEvent():
                self._add_all((event,))
            case Created():
                self.created = event
            case Claimed():
                self._claim(event)
            case CancelRequested():
                self.cancelled_by = event.by
            case Released():
                self.released = True
                self.releases += 1
            case End():
                self.end = event

    def _claim(self, claim: Claimed) -> None:
        self.takeovers += self.owner is not None and not self.released
        self.owner, self.released = claim, False
        self.claims.append((self.last_seq + 1, claim))
        if claim.reason is ClaimReason.RESTARTED:
            self.generation_seq = self.last_seq + 1
            self.next_index, self.finish_reason = 1, ""
            self.frame, self._beyond_text = None, False
            self._unread, self._texts = [], []

    def _add_all(self, chunks: Sequence[ChunkEvent]) -> None:
        self.next_index += len(chunks)
        self.chunks += len(chunks)
        self.size_bytes += size_of(chunks)
        self._unread += map(DELTA, chunks)
        for reason in filter(None, map(_FINISH_REASON, chunks)):
            self.finish_reason = reason
        if self.frame is None:
            self.frame = next(filter(None, map(_FRAME, chunks)), None)

    def _read(self) -> None:
        read = [read_delta(delta) for delta in self._unread]
        self._texts += [text for text, _ in read]
        self._beyond_text = self._beyond_text or any(beyond_text for _, beyond_text in read)
        self._unread.clear()


def fold(events: Iterable[AnyEvent], state: RunState | None = None) -> RunState:
    """Return what `events` say, behind what `state` knows already. Raises IllegalMove for a broken log."""
    state = state or RunState()
    for event in events:
        state.apply(event)
    return state
