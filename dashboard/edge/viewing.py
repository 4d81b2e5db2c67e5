"""One viewer of a run: which node is asked for it, and what it gives, without a gap and nothing twice.

    ask --> pieces … --> the run's end: over
     ^         |
     +---------+  its link is lost, it is silent or away, it can't: the next node, behind the last piece

While there is nobody to ask, the viewer waits: idle is never an end (runs.md, "Attach").
"""

import enum
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from django.db import Error as DatabaseError

from dashboard.edge.broker import Broker, log_prefix
from dashboard.runtime import LaneFull
from dashboard.selectors import outbox
from dashboard.selectors.observed import AWAY
from meshcore.clock import Clock, monotonic, utcnow
from meshcore.stream_frames import Stream, StreamEnd, StreamEndReason
from meshcore.watching import Carriers, behind

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0  # for a node's first piece, which it sends at once
TICK_SECONDS = 1.0  # how often a viewer looks whether its node is still there
LOOK_SECONDS = 0.25  # between two looks for somebody to ask
ELSEWHERE_SECONDS = 2.0  # between two looks at the links of other processes, which cost a query


class Word(enum.StrEnum):
    """What is to be said of a run besides its pieces."""

    SILENT = "silent"  # its node is there and has nothing new
    WAITING = "waiting"  # there is nobody to ask now
    BUSY = "busy"  # whoever can be asked sends as many runs as it may
    UNKNOWN = "unknown"  # its log doesn't have it, or not any more


class Viewing:
    """See the module. `after` is the last event that the viewer has."""

    def __init__(
        self,
        broker: Broker,
        run_id: str,
        *,
        after: int | None = None,
        history: bool = False,
        clock: Clock = monotonic,
    ) -> None:
        self._broker = broker
        self._run_id = run_id
        self._log = log_prefix(run_id)
        self._after = after
        self._history = history
        self._clock = clock
        self._carriers = Carriers(clock=clock)
        self._elsewhere: list[str] = []
        self._look_at = clock()
        self._begun = False  # whether a node said where the viewer begins
        self._ended = False
        self._busy = False  # whether the last who was asked sends too many runs

    async def words(self) -> AsyncGenerator[Stream | Word, None]:
        """Yield pieces as they come, and a word at least every few seconds when none do.

        A piece counts as read when the next word is asked for. The last word is the piece with the end, or
        UNKNOWN.
        """
        while True:
            name = await self._next()
            if name is None:
                yield Word.BUSY if self._busy else Word.WAITING
                await self._broker.until_joined(LOOK_SECONDS)
                continue
            async with aclosing(self._given_by(name)) as given:
                async for word in given:
                    yield word
                    if self._ended or word is Word.UNKNOWN:
                        return
            self._carriers.failed(name)

    async def _next(self) -> str | None:
        """Return whom to ask: a node whose link is here, else one whose link another process has."""
        here = self._broker.here(self._log)
        if self._broker.relay is not None and not here and self._clock() >= self._look_at:
            self._look_at = self._clock() + ELSEWHERE_SECONDS
            try:
                nodes = await self._broker.runtime.in_render(outbox.carriers, self._log, now=utcnow())
                self._elsewhere = [node.name for node in nodes]
            except (DatabaseError, LaneFull) as exc:
                logger.warning("who has the log %s can't be looked up: %r", self._log, exc)
        return self._carriers.next(here, self._elsewhere)

    async def _given_by(self, name: str) -> AsyncGenerator[Stream | Word, None]:
        """Yield what one node gives, until it gives no more."""
        relay = None if name in self._broker.here(self._log) else self._broker.relay
        watching = (relay or self._broker).watching
        async with watching(name, self._run_id, after=self._after, history=self._history) as source:
            frame = await source.get(ANSWER_SECONDS) if source is not None else None
            if source is None or frame is None:
                return
            while word := self._word(frame, name):
                yield word
                if isinstance(frame, Stream):
                    await source.grant()
                elif relay is not None and self._broker.here(self._log):
                    return  # a link of this process has come: one hop less, and perhaps that one is gone
                frame = await source.get(TICK_SECONDS)

    def _word(self, frame: Stream | StreamEnd | None, name: str) -> Stream | Word | None:
        """Return what is to be said, None when another node is to be asked."""
        match frame:
            case Stream() if not self._begun or frame.after <= (self._after or 0):
                self._busy = False
                self._carriers.gave(name)
                return self._new_of(frame)
            case StreamEnd(reason=StreamEndReason.UNKNOWN_RUN):
                return Word.UNKNOWN
            case None if not self._is_away(name):
                return Word.SILENT
            case _:
                self._busy = isinstance(frame, StreamEnd) and frame.reason == StreamEndReason.TOO_MANY
                why = frame.reason if isinstance(frame, StreamEnd) else "something got lost, or it is away"
                logger.info("%s gives no more of %s: %s", name, self._run_id, why)
                return None

    def _new_of(self, piece: Stream) -> Stream:
        """Return what is new in a piece; the first of all says where the viewer begins."""
        if not self._begun:
            self._begun, self._after = True, piece.after
        new = behind(piece, self._after or 0)
        self._after = max(piece.to, self._after or 0)
        self._ended = any(event.event == "end" for event in new.events)
        return new

    def _is_away(self, name: str) -> bool:
        look = self._broker.runtime.looks.get(name)
        return look is not None and look.state in AWAY
