"""An append is carried out to its end, or says that it wasn't."""

from collections.abc import Sequence

import pytest

from meshcore.aio.runlog.appending import append, settle
from meshcore.aio.runlog.base import EngineGone, Stored
from meshcore.aio.runlog.memory import MemoryLog
from meshcore.run_record import Head, Record
from meshcore.run_writer import RunWriter, Turn
from meshcore.testing import ManualClock
from tests.aio.runlog.conformance import RUN, Losing, begun, half, write
from tests.test_runs import CANCEL, STARTED, chunk


class Gone(MemoryLog):
    """An engine that can be switched off; every try takes half a second of the clock."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock
        self.off_until = 0.0

    async def append(self, run_id: str, head: Head, record: Record) -> Head:
        self._answer()
        return await super().append(run_id, head, record)

    async def read(self, run_id: str, after_seq: int = 0, *, limit: int = 500) -> Sequence[Stored]:
        self._answer()
        return await super().read(run_id, after_seq, limit=limit)

    def _answer(self) -> None:
        if self.clock() < self.off_until:
            self.clock.advance(0.5)
            raise EngineGone("switched off")


async def test_an_engine_that_comes_back_in_time_is_waited_for() -> None:
    clock = ManualClock()
    log, writer = Gone(clock), RunWriter("one")
    log.off_until = clock() + 1.5

    turn = await append(log, RUN, writer, "x", *STARTED, clock=clock, random=half)

    assert turn is Turn.STORED
    assert len(await log.read(RUN)) == 1


async def test_an_engine_that_stays_away_is_said_to_and_the_record_is_settled_later() -> None:
    clock = ManualClock()
    log, writer = Gone(clock), RunWriter("one")
    log.off_until = clock() + 10

    with pytest.raises(EngineGone):
        await append(log, RUN, writer, "x", *STARTED, clock=clock, random=half)
    clock.advance(10)
    turn = await settle(log, RUN, writer, clock=clock, random=half)

    assert turn is Turn.STORED
    assert writer.owns


async def test_a_lost_acknowledgement_behind_which_a_cancel_came_cancels() -> None:
    clock, log = ManualClock(), MemoryLog()
    writer = await begun(log)
    canceller = RunWriter("client", writer.state, writer.head)

    await write(log, canceller, CANCEL)
    owner = RunWriter("one")
    owner.behind((await log.read(RUN))[:1])
    turn = await append(log, RUN, owner, "y", chunk(1), clock=clock, random=half)

    assert turn is Turn.CANCEL


async def test_a_lost_race_is_tried_again_at_the_new_head() -> None:
    clock, log = ManualClock(), MemoryLog()
    writer = await begun(log)
    canceller = RunWriter("client")
    canceller.behind(await log.read(RUN))
    await write(log, writer, chunk(1))

    turn = await append(Losing(log, 1), RUN, canceller, "z", CANCEL, clock=clock, random=half)  # type: ignore[arg-type]

    assert turn is Turn.STORED
    assert (await log.read(RUN))[-1][0].events == (CANCEL,)
