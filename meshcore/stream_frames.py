"""The frames by which a run is watched over the link: pieces of its log, as fast as its viewer reads.

    dashboard   inbound{watch_run}            stream_credit{id, n}          stream_end{id}: its viewer left
    node                         stream{id, …} …              stream{id, …}          stream_end{id, reason}

A piece takes one credit. The first one comes at once, mostly without events: it says where the viewer begins.
A stream lives on one connection and ends with it; the dashboard then asks a node of the run's log again, for
what lies behind the last piece.
"""

import enum
from typing import Annotated, Literal

import msgspec

from meshcore.frame_terms import Frame, Number

STREAM_CREDIT = 4  # pieces on their way to one viewer
STREAM_CREDIT_MAX = 64  # that a node takes; whoever grants more gets no more pieces at once
STREAMS_MAX = 64  # of one node; one more ends at once with `too_many`
PIECE_MAX_BYTES = 64 << 10  # of events; a longer event comes alone, within the bound of a frame

StreamId = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
Credit = Annotated[int, msgspec.Meta(ge=1, le=STREAM_CREDIT_MAX)]


class StreamEndReason(enum.StrEnum):
    """Why a stream ended; on the wire it is text, as a newer node may know more reasons."""

    ENDED = "ended"  # the run has, and its end was sent
    UNKNOWN_RUN = "unknown_run"
    LOG_UNREACHABLE = "log_unreachable"  # the node has no log, or another one
    ENGINE_GONE = "engine_gone"
    CANCELLED = "cancelled"  # the viewer left, or the node stops
    TOO_MANY = "too_many"


class WatchRun(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="watch_run"):
    """The event of an `inbound` that asks for a stream.

    `after`: the last event that the viewer has; None: none, and `history` says whether it wants all of them
    or those of the present generation.
    """

    stream: StreamId
    run_id: Annotated[str, msgspec.Meta(max_length=100)]
    after: Number | None = None
    history: bool = False
    credit: Credit = STREAM_CREDIT


class ViewedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a run as its viewers get it."""

    seq: Number
    event: Literal["chunk", "epoch", "end"]
    data: msgspec.Raw


class Stream(Frame, frozen=True, kw_only=True, tag="stream"):
    """All that viewers are told of (after, to] of a run's log."""

    id: StreamId
    after: Number
    to: Number
    events: tuple[ViewedEvent, ...] = ()


class StreamCredit(Frame, frozen=True, kw_only=True, tag="stream_credit"):
    """So many more pieces may come: the viewer has read."""

    id: StreamId
    n: Credit = 1


class StreamEnd(Frame, frozen=True, kw_only=True, tag="stream_end"):
    """No more pieces come, or none are wanted."""

    id: StreamId
    reason: Annotated[str, msgspec.Meta(max_length=100)] = StreamEndReason.CANCELLED.value
