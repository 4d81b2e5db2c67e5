"""The credits of watched runs on one connection of the link: who may send how many pieces more.

The dashboard's side holds the node to them: a node that sends a piece too many breaks the link's rules, as it
would fill the dashboard's memory. Of streams that are over both sides still hear for a while; that counts for
nothing.
"""

from collections.abc import Callable
from itertools import pairwise

import msgspec

from meshcore.errors import IllegalMove
from meshcore.frames import Frame, Inbound
from meshcore.stream_frames import (
    STREAM_CREDIT_MAX,
    Stream,
    StreamCredit,
    StreamEnd,
    StreamEndReason,
    WatchRun,
)

Say = Callable[[Frame], None]


class NodeStreams:
    """What a node sends; `say` puts a frame on the wire."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._credit: dict[str, int] = {}

    def open(self, watch: WatchRun) -> None:
        """Begin a stream; raises IllegalMove when there is one of that id."""
        if watch.stream in self._credit:
            raise IllegalMove(f"open stream {watch.stream}", "watch_run")
        self._credit[watch.stream] = watch.credit

    def heard(self, frame: StreamCredit | StreamEnd) -> bool:
        """Take what the dashboard says; return whether it is about a stream that goes on."""
        if frame.id not in self._credit:
            return False
        if isinstance(frame, StreamEnd):
            del self._credit[frame.id]
        else:
            self._credit[frame.id] = min(self._credit[frame.id] + frame.n, STREAM_CREDIT_MAX)
        return True

    def credit_left(self, stream: str) -> int:
        """Return how many pieces may be sent now."""
        return self._credit.get(stream, 0)

    def send(self, piece: Stream) -> None:
        """Say a piece; raises IllegalMove without credit, and when the stream is over."""
        if not self.credit_left(piece.id):
            raise IllegalMove(f"stream {piece.id} without credit", "stream")
        self._credit[piece.id] -= 1
        self._say(piece)

    def end(self, stream: str, reason: StreamEndReason) -> None:
        """Say that no more comes, unless the dashboard said so before."""
        if self._credit.pop(stream, None) is not None:
            self._say(StreamEnd(id=stream, reason=reason.value))


class DashboardStreams:
    """What the dashboard has asked for; `close` ends the connection with a reason."""

    def __init__(self, say: Say, close: Callable[[str], None]) -> None:
        self._say = say
        self._close = close
        self._allowed: dict[str, int] = {}

    def watch(self, watch: WatchRun) -> None:
        """Ask for a stream; its id is new on this connection."""
        self._allowed[watch.stream] = watch.credit
        self._say(Inbound(event=msgspec.to_builtins(watch)))

    def grant(self, stream: str, n: int = 1) -> None:
        """Say that the viewer has read `n` pieces; nothing when the stream is over."""
        if stream in self._allowed:
            self._allowed[stream] += n
            self._say(StreamCredit(id=stream, n=n))

    def end(self, stream: str) -> None:
        """Say that the viewer left; nothing when the stream is over."""
        if self._allowed.pop(stream, None) is not None:
            self._say(StreamEnd(id=stream))

    def heard(self, frame: Stream | StreamEnd) -> bool:
        """Return whether what the node says is about a stream that goes on; beyond its credit it closes."""
        if frame.id not in self._allowed:
            return False
        if isinstance(frame, StreamEnd):
            del self._allowed[frame.id]
            return True
        complaint = self._complaint(frame)
        if complaint:
            self._close(complaint)
            return False
        self._allowed[frame.id] -= 1
        return True

    def _complaint(self, piece: Stream) -> str:
        if not self._allowed[piece.id]:
            return "a piece of a stream beyond its credit"
        seqs = [piece.after, *(event.seq for event in piece.events)]
        rises = all(one < other for one, other in pairwise(seqs))
        return "" if rises and seqs[-1] <= piece.to else "a piece of a stream out of order"
