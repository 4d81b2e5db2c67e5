"""Watching a run by its log, on whatever node: what stands there, then what comes."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import NamedTuple

from meshcore.aio.runlog import RunLog
from meshcore.aio.runlog.base import Tail
from meshcore.run_events import AnyEvent, End
from meshcore.run_record import Record
from meshcore.run_view import COMMENT, HELLO, frame, news_in

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
    async with aclosing(log.tail(run_id, after_seq)) as tail:
        watch = Watch(tail, after_seq)
        while not watch.is_over:
            first_seq, events = await watch.next()
            yield list(enumerate(events, first_seq))


class Watch:
    """What a tail, which is somebody else's to close, gives of a run; `is_over` when its end was given."""

    def __init__(self, tail: Tail, after_seq: int) -> None:
        self.is_over = False
        self._tail = tail
        self._after_seq = after_seq

    async def next(self) -> News:
        """Return what comes together; the run's end is the last of all. Raises EngineGone."""
        while True:
            records = await self._tail.next(COMMENT_SECONDS)
            news = self._news(records)
            if news.events or not records:
                return news

    def _news(self, records: Iterable[Record]) -> News:
        first_seq, events = 0, list[AnyEvent]()
        for record in records:
            if news := news_in(record, self._after_seq):
                first_seq = first_seq or max(record.first_seq, self._after_seq + 1)
                events += news
                if isinstance(news[-1], End):
                    self.is_over = True
                    break
        return News(first_seq, events)
