"""Watching a run from afar: its events in pieces, and which node of its log is asked for them next.

ask a node --> it answers: its pieces are shown --> it is lost --> ask the next one, behind the last piece
         \\--> it can't, or says nothing: it is passed over for a while, longer each time
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from meshcore.clock import Clock
from meshcore.run_events import AnyEvent
from meshcore.run_view import viewed
from meshcore.stream_frames import PIECE_MAX_BYTES, Stream, ViewedEvent

PASSED_OVER_SECONDS = 0.5  # after the first failure; doubled with each
PASSED_OVER_SECONDS_MAX = 8.0
ENVELOPE_BYTES = 48  # of an event, beside its data


def pieces(
    stream: str, after: int, events: Sequence[tuple[int, AnyEvent]], *, max_bytes: int = PIECE_MAX_BYTES
) -> Iterator[Stream]:
    """Yield `events`, which stand behind `after` and are not empty, as pieces of at most `max_bytes`.

    An event that is longer comes alone.
    """
    batch: list[ViewedEvent] = []
    size, begun, to = 0, after, after
    for seq, found in ((seq, viewed(seq, event)) for seq, event in events):
        length = len(bytes(found.data)) + ENVELOPE_BYTES if found else 0
        if batch and size + length > max_bytes:
            yield Stream(id=stream, after=begun, to=to, events=tuple(batch))
            batch, size, begun = [], 0, to
        if found:
            batch.append(found)
        size, to = size + length, seq
    yield Stream(id=stream, after=begun, to=to, events=tuple(batch))


def behind(piece: Stream, seq: int) -> Stream:
    """Return what of a piece stands behind `seq`."""
    return msgspec.structs.replace(
        piece, after=max(piece.after, seq), events=tuple(each for each in piece.events if each.seq > seq)
    )


class Carriers:
    """Who of a log's nodes is asked next for one viewer; time is monotonic seconds."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def next(self, here: Collection[str], elsewhere: Iterable[str] = ()) -> str | None:
        """Return whom to ask: a node whose link is `here` before one that another process has.

        None when there is none, or all are passed over for now.
        """
        now = self._clock()
        there = [(name not in here, self._failures.get(name, 0), name) for name in {*here, *elsewhere}]
        due = [each for each in there if self._not_before.get(each[2], now) <= now]
        return min(due)[2] if due else None

    def failed(self, name: str) -> None:
        """Note that a node couldn't give the run, or was lost; it is passed over for a while."""
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        seconds = min(PASSED_OVER_SECONDS * 2 ** (failures - 1), PASSED_OVER_SECONDS_MAX)
        self._not_before[name] = self._clock() + seconds

    def gave(self, name: str) -> None:
        """Note that a node gave something."""
        self._failures.pop(name, None)
        self._not_before.pop(name, None)
