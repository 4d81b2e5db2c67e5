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

import enum
from collections.abc import Iterable, Sequence
from itertools import compress, repeat
from operator import attrgetter, is_, is_not
from typing import Any, TypeGuard

import msgspec

from meshcore.errors import IllegalMove
from meshcore.frame_terms import Stamp

TAKEOVERS_MAX = 3  # claims of a run whose owner died; behind a fourth death it has failed


class RunStatus(enum.StrEnum):
    """How a run stands; the values are what the API says."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class ClaimReason(enum.StrEnum):
    """What the new owner does: begins, goes on behind the text so far, or begins anew."""

    STARTED = "started"
    CONTINUED = "continued"
    RESTARTED = "restarted"


class EndReason(enum.StrEnum):
    """Why a run ended, where its status doesn't say it all; other codes come from the failed call."""

    STOP = "stop"
    LENGTH = "length"
    CANCEL_REQUESTED = "cancel_requested"
    DRAIN_FORCED = "drain_forced"
    OWNER_LOST = "owner_lost"
    STALLED = "stalled"
    BUFFER_FULL = "buffer_full"


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of what can stand in a run's log."""


class Created(Event, frozen=True, kw_only=True, tag="created"):
    """The first event: `request` is the client's JSON as it came, `key` whose run it is.

    All its calls are of one trace, `trace_id`, whoever makes them; "" in logs of older versions.
    `at` is for people: nothing is decided by it.
    """

    capability: str
    request: msgspec.Raw
    log_id: str
    key: str = ""
    trace_id: str = ""
    restartable: bool = True
    stream: bool = True
    at: Stamp | None = None


class Claimed(Event, frozen=True, kw_only=True, tag="claimed"):
    """`instance` of `node` owns the run from here on; `superseded_from` is the first seq of what a restart
    replaces. `at` is for people: nothing is decided by it."""

    node: str
    instance: str
    epoch: int
    reason: ClaimReason
    superseded_from: int | None = None
    at: Stamp | None = None


class ChunkEvent(Event, frozen=True, kw_only=True, tag="chunk"):
    """One piece of the answer: OpenAI's `delta`; `index` counts from 1 in every generation.

    The first one has the `frame` that it came in: id, creation time and model of the whole generation.
    """

    index: int
    delta: msgspec.Raw
    finish_reason: str = ""
    frame: dict[str, Any] | None = None


class CancelRequested(Event, frozen=True, kw_only=True, tag="cancel_requested"):
    """Somebody wants the run to end; from here on it is never executed again."""

    by: str


class Released(Event, frozen=True, kw_only=True, tag="released"):
    """The owner lets go, so that another may claim without waiting for a lease."""

    reason: str


class End(Event, frozen=True, kw_only=True, tag="end"):
    """The last event; `final_seq` is its own."""

    status: RunStatus
    final_seq: int
    reason: str = ""
    usage: dict[str, Any] | None = None


AnyEvent = Created | Claimed | ChunkEvent | CancelRequested | Released | End

_FIELDS = msgspec.json.Decoder(dict[str, Any])
_CHUNKS = {ChunkEvent}
_INDEX, _DELTA = attrgetter("index"), attrgetter("delta")
_FINISH_REASON, _FRAME = attrgetter("finish_reason"), attrgetter("frame")


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
        self._unread += map(_DELTA, chunks)
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


def name_of(event: AnyEvent) -> str:
    """Return the name under which an event is stored."""
    return str(type(event).__struct_config__.tag)


def chunks_in(events: Sequence[AnyEvent]) -> list[ChunkEvent]:
    """Return those of events that are chunks."""
    return list(compress(events, map(is_, map(type, events), repeat(ChunkEvent))))  # type: ignore[arg-type]


def beside_chunks(events: Sequence[AnyEvent]) -> list[AnyEvent]:
    """Return those of events that aren't chunks, as few are."""
    return list(compress(events, map(is_not, map(type, events), repeat(ChunkEvent))))


def size_of(chunks: Iterable[ChunkEvent]) -> int:
    """Return how many bytes the deltas of chunks have."""
    return len(b"".join(map(_DELTA, chunks)))


def read_delta(delta: msgspec.Raw) -> tuple[str, bool]:
    """Return the content text of a delta, "" when it has none, and whether there is more answer in it."""
    fields = _FIELDS.decode(delta)
    content = fields.pop("content", None)
    fields.pop("role", None)
    text = content if isinstance(content, str) else ""
    return text, any(fields.values()) or bool(content and not text)


def text_in(delta: msgspec.Raw) -> str:
    """Return the content text of a delta, "" when it has none."""
    return read_delta(delta)[0] if b'"content"' in bytes(delta) else ""
