"""Watching a run by its log, on whatever node: what stands there, then what comes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from meshcore.aio.runlog import RunLog
from meshcore.aio.runlog.base import Tail
from meshcore.run_record import Record, is_plain
from meshcore.run_view import COMMENT, HELLO, events_behind, frame
from meshcore.runs import AnyEvent, End

COMMENT_SECONDS = 15.0  # of silence; proxies take a connection that is silent for longer for dead


async def frames(log: RunLog, run_id: str, after_seq: int) -> AsyncGenerator[bytes, None]:
    """Yield a run's events as viewers get them, until its end; comments while there are none.

    Raises EngineGone: a stream that stops without an `end` is to be taken up again.
    """
    yield HELLO
    async with aclosing(batches(log, run_id, after_seq)) as found:
        async for events in found:
            if not events:
                yield COMMENT
            elif data := b"".join(frame(seq, event) for seq, event in events):
                yield data


async def batches(
    log: RunLog, run_id: str, after_seq: int
) -> AsyncGenerator[list[tuple[int, AnyEvent]], None]:
    """Yield (seq, event) as they come, until the run's end is among them; [] when there was silence."""
    async with aclosing(log.tail(run_id, after_seq)) as tail, aclosing(batches_of(tail, after_seq)) as found:
        async for events in found:
            yield events


async def batches_of(tail: Tail, after_seq: int) -> AsyncGenerator[list[tuple[int, AnyEvent]], None]:
    """Yield the same, of a tail that somebody else closes."""
    while True:
        events: list[tuple[int, AnyEvent]] = []
        for record in (records := await tail.next(COMMENT_SECONDS)):
            events += _until_end(record, after_seq)
            if events and isinstance(events[-1][1], End):
                yield events
                return
        if events or not records:
            yield events


def _until_end(record: Record, after_seq: int) -> list[tuple[int, AnyEvent]]:
    """Return what is new in a record; behind the first end nothing counts."""
    if record.first_seq > after_seq and is_plain(record):
        return list(enumerate(record.events, record.first_seq))
    events: list[tuple[int, AnyEvent]] = []
    for seq, event in events_behind(record, after_seq):
        events.append((seq, event))
        if isinstance(event, End):
            break
    return events
