"""Watching a run by its log, on whatever node: what stands there, then what comes."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from meshcore.aio.runlog import RunLog
from meshcore.aio.runlog.base import Tail
from meshcore.run_view import COMMENT, HELLO, frame, news_in
from meshcore.runs import AnyEvent, End

COMMENT_SECONDS = 15.0  # of silence; proxies take a connection that is silent for longer for dead


class News(NamedTuple):
    """Events that came together, the first with the number `first_seq`; none when there was silence."""

    first_seq: int
    events: Sequence[AnyEvent]


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
    async with aclosing(log.tail(run_id, after_seq)) as tail, aclosing(news_of(tail, after_seq)) as found:
        async for news in found:
            yield list(enumerate(news.events, news.first_seq))


async def news_of(tail: Tail, after_seq: int) -> AsyncGenerator[News, None]:
    """Yield what comes together, until the run's end is the last of it; no events when none came for long.

    The tail is somebody else's to close.
    """
    while True:
        found: list[AnyEvent] = []
        first_seq = 0
        for record in (records := await tail.next(COMMENT_SECONDS)):
            if news := news_in(record, after_seq):
                first_seq = first_seq or max(record.first_seq, after_seq + 1)
                found += news
                if isinstance(news[-1], End):
                    yield News(first_seq, found)
                    return
        if found or not records:
            yield News(first_seq, found)
