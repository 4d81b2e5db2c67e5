"""What can stand in a run's log (runs.md, "The primitive"), and the words of a run's life."""

import enum
from collections.abc import Iterable, Sequence
from itertools import compress, repeat
from operator import attrgetter, is_, is_not
from typing import Any

import msgspec

from meshcore.frame_terms import Stamp


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
DELTA = attrgetter("delta")  # of a chunk


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
    return len(b"".join(map(DELTA, chunks)))


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
