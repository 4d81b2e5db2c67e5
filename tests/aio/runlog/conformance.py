"""What every engine of run logs must do; a module of tests for each subclasses `Conformance`.

The engine is the `log` fixture, `again` opens it once more as another process would.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from meshcore.aio.runlog.appending import append, behind
from meshcore.aio.runlog.base import END_KEPT, RETENTION, Conflict, EngineGone, RunLog, Stored
from meshcore.clock import monotonic
from meshcore.liveness import Beat
from meshcore.run_events import AnyEvent, RunStatus
from meshcore.run_record import EMPTY, RECORD_MAX_BYTES, Head, Record, TooLarge
from meshcore.run_writer import RunWriter, Turn
from meshcore.runs import fold
from tests.test_runs import CANCEL, CREATED, RELEASED, STARTED, chunk, claimed, end

RUN = "run_abcdef_1"
OTHER = "run_abcdef_2"
START = datetime(2026, 1, 1, tzinfo=UTC)

Log = RunLog
Again = Callable[[], Awaitable[RunLog]]


def half() -> float:
    return 0.5


class Losing:
    """A log whose next acknowledgements get lost: what was to be stored is."""

    def __init__(self, log: RunLog, losses: int) -> None:
        self._log = log
        self.losses = losses

    async def append(self, run_id: str, head: Head, record: Record) -> Head:
        stored = await self._log.append(run_id, head, record)
        if self.losses:
            self.losses -= 1
            raise EngineGone("the acknowledgement got lost")
        return stored

    async def read(self, run_id: str, after_seq: int = 0, *, limit: int = 500) -> Sequence[Stored]:
        return await self._log.read(run_id, after_seq, limit=limit)


async def write(log: RunLog, writer: RunWriter, *events: AnyEvent, run: str = RUN) -> Turn:
    """Append events as one record."""
    append_id = f"{writer.instance}-{writer.head.seq}-{id(events)}"
    return await append(log, run, writer, append_id, *events, clock=monotonic, random=half)


async def begun(log: RunLog, *events: AnyEvent, run: str = RUN) -> RunWriter:
    """Return the owner of a run that has begun."""
    writer = RunWriter("one")
    assert await write(log, writer, *STARTED, *events, run=run) is Turn.STORED
    return writer


async def take(records: AsyncIterator[Record], last_seq: int) -> list[Record]:
    """Return records until one that ends at `last_seq` or behind it."""
    found: list[Record] = []
    async with asyncio.timeout(30):
        async for record in records:
            found.append(record)
            if record.last_seq >= last_seq:
                break
    return found


def numbers(records: Sequence[Record]) -> list[int]:
    """Return the number of each event."""
    return [seq for record in records for seq in range(record.first_seq, record.last_seq + 1)]


class Conformance:
    """The suite."""

    async def test_an_unknown_run_is_empty(self, log: Log) -> None:
        assert await log.read(RUN) == []

    async def test_what_was_appended_is_read_with_the_head_behind_it(self, log: Log) -> None:
        writer = await begun(log)
        await write(log, writer, chunk(1), chunk(2))

        stored = await log.read(RUN)

        assert [record.events for record, _ in stored] == [tuple(STARTED), (chunk(1), chunk(2))]
        assert stored[-1][1] == writer.head
        assert [record.first_seq for record, _ in stored] == [1, 3]

    async def test_a_read_begins_behind_a_number_and_has_a_limit(self, log: Log) -> None:
        writer = await begun(log)
        for index in range(1, 6):
            await write(log, writer, chunk(index))

        some = await log.read(RUN, 3, limit=2)
        inside = await log.read(RUN, 1, limit=1)

        assert numbers([record for record, _ in some]) == [4, 5]
        assert numbers([record for record, _ in inside]) == [1, 2]
        assert await log.read(RUN, 7) == []

    async def test_an_append_for_another_head_conflicts_and_stores_nothing(self, log: Log) -> None:
        writer = await begun(log)
        old = writer.head
        await write(log, writer, chunk(1))

        for head in (EMPTY, old, Head(9, 9), Head(writer.head.seq, writer.head.token + 1)):
            with pytest.raises(Conflict):
                await log.append(RUN, head, Record(1, "late", head.seq + 1, (chunk(2),)))

        assert numbers([record for record, _ in await log.read(RUN)]) == [1, 2, 3]

    async def test_a_record_that_is_too_large_is_refused(self, log: Log) -> None:
        writer = await begun(log)

        with pytest.raises(TooLarge):
            await log.append(RUN, writer.head, Record(1, "big", 3, (chunk(1, "x" * RECORD_MAX_BYTES),)))

        assert len(await log.read(RUN)) == 1

    async def test_the_largest_record_is_kept_whole(self, log: Log) -> None:
        writer = await begun(log)
        text = "x" * (RECORD_MAX_BYTES - 200)

        await write(log, writer, chunk(1, text))

        assert fold(event for record, _ in await log.read(RUN) for event in record.events).text == text

    @pytest.mark.parametrize(
        "events",
        [
            [STARTED],
            [STARTED, [chunk(1)]],
            [STARTED, [RELEASED]],
            [STARTED, [RELEASED], [claimed("one", 2, msgspec.convert("continued", type(STARTED[1].reason)))]],  # type: ignore[union-attr]
            [STARTED, [end(3)]],
            [STARTED, [CANCEL], [end(4, RunStatus.CANCELLED)]],
        ],
        ids=["created", "chunk", "released", "claimed", "end", "cancelled"],
    )
    async def test_a_lost_acknowledgement_is_found_in_the_log(
        self, log: Log, events: list[list[AnyEvent]]
    ) -> None:
        writer = RunWriter("one")
        for record in events[:-1]:
            await write(log, writer, *record)
        losing = Losing(log, 1)

        turn = await write(losing, writer, *events[-1])  # type: ignore[arg-type]  # only what appending needs

        assert turn is (Turn.CANCEL if isinstance(events[-1][0], type(CANCEL)) else Turn.STORED)
        stored = await log.read(RUN)
        assert [list(record.events) for record, _ in stored] == events
        assert writer.head == stored[-1][1]

    async def test_of_many_who_append_at_one_head_one_wins(self, log: Log) -> None:
        owner = await begun(log, RELEASED)
        reason = msgspec.convert("continued", type(STARTED[1].reason))  # type: ignore[union-attr]

        claimers = [RunWriter(f"claimer-{number}") for number in range(20)]
        for claimer in claimers:
            claimer.behind([stored async for stored in behind(log, RUN, EMPTY)])

        claims = [write(log, each, claimed(each.instance, 2, reason)) for each in claimers]
        turns = await asyncio.gather(*claims)

        assert turns.count(Turn.STORED) == 1
        assert turns.count(Turn.STOP) == 19
        assert len(await log.read(RUN)) == 2
        assert owner.head.seq == 3

    async def test_many_runs_are_written_at_once_and_apart(self, log: Log) -> None:
        async def run(name: str) -> None:
            writer = await begun(log, run=name)
            for index in range(1, 21):
                await write(log, writer, chunk(index), run=name)

        names = [f"run_abcdef_{number}" for number in range(10)]
        await asyncio.gather(*map(run, names))

        for name in names:
            assert numbers([record for record, _ in await log.read(name)]) == list(range(1, 23))

    async def test_a_tail_has_the_beginning_and_what_comes(self, log: Log) -> None:
        writer = await begun(log, chunk(1))
        async with aclosing(log.tail(RUN)) as tail:
            first = await take(tail, 3)
            await write(log, writer, chunk(2))
            await write(log, writer, end(5))
            rest = await take(tail, 5)

        assert numbers(first + rest) == [1, 2, 3, 4, 5]

    async def test_a_tail_of_a_run_that_isnt_there_yet_waits_for_it(self, log: Log) -> None:
        async with aclosing(log.tail(RUN)) as tail:
            waiting = asyncio.create_task(take(tail, 2))
            await log.read(RUN)
            await begun(log)

            assert numbers(await waiting) == [1, 2]

    async def test_a_tail_from_the_middle_has_no_gap_and_nothing_twice(self, log: Log) -> None:
        writer = await begun(log)
        tails = [log.tail(RUN, after_seq) for after_seq in (0, 2, 10)]
        reading = [asyncio.create_task(take(tail, 52)) for tail in tails]
        for index in range(1, 51):
            await write(log, writer, chunk(index))

        found = [numbers(await each) for each in reading]
        for tail in tails:
            await tail.aclose()

        assert found == [list(range(1, 53)), list(range(3, 53)), list(range(11, 53))]

    async def test_another_opening_sees_what_this_one_writes(self, log: Log, again: Again) -> None:
        other = await again()
        async with aclosing(other.tail(RUN)) as tail:
            reading = asyncio.create_task(take(tail, 4))
            writer = await begun(log)
            await write(log, writer, chunk(1), chunk(2))

            found = await reading

        assert numbers(found) == [1, 2, 3, 4]
        assert other.log_id == log.log_id

    async def test_the_feed_has_what_all_runs_have_beside_chunks(self, log: Log) -> None:
        async with aclosing(log.feed()) as feed:
            coming = asyncio.create_task(anext(feed))
            await asyncio.sleep(0)
            writer = await begun(log)
            async with asyncio.timeout(30):
                first = await coming
                await write(log, writer, chunk(1))
                await begun(log, run=OTHER)
                second = await anext(feed)

        assert [first[0], second[0]] == [RUN, OTHER]
        assert first[1].events == tuple(STARTED)

    async def test_runs_are_open_until_they_end(self, log: Log) -> None:
        created = RunWriter("client")
        await write(log, created, CREATED, run=OTHER)
        writer = await begun(log)
        before = sorted(run.run_id for run in await log.open_runs())
        await write(log, writer, end(3))

        assert before == [RUN, OTHER]
        assert [run.run_id for run in await log.open_runs()] == [OTHER]

    async def test_a_beat_replaces_the_one_before_and_can_be_removed(self, log: Log) -> None:
        for beat in (Beat("node-a", "x", 1), Beat("node-b", "y", 1), Beat("node-a", "x", 2)):
            await log.beat(beat)
        both = sorted(await log.beats())
        await log.remove_beat("node-a", "x")
        await log.remove_beat("node-a", "unknown")

        assert both == [("node-a", "x", 2), ("node-b", "y", 1)]
        assert await log.beats() == [("node-b", "y", 1)]

    async def test_an_ended_run_is_cut_to_its_end_and_then_forgotten(self, log: Log) -> None:
        now = datetime.now(UTC)
        open_run = await begun(log, run=OTHER)
        writer = await begun(log, chunk(1))
        await write(log, writer, end(4))

        early = await log.trim(now + RETENTION / 2)
        cut = await log.trim(now + RETENTION + timedelta(minutes=1))
        kept = await log.read(RUN)
        gone = await log.trim(now + END_KEPT + timedelta(minutes=1))

        assert (early, cut, gone) == (0, 1, 1)
        assert [record.events for record, _ in kept] == [(end(4),)]
        assert kept[0][1] == writer.head
        assert await log.read(RUN) == []
        assert len(await log.read(OTHER)) == 1
        assert await write(log, open_run, chunk(1), run=OTHER) is Turn.STORED

    async def test_of_an_answer_that_stands_with_its_end_nothing_stays(self, log: Log) -> None:
        if log.keeps_records:
            return  # whoever appends keeps them apart
        writer = await begun(log)
        await write(log, writer, chunk(1), end(4))

        await log.trim(datetime.now(UTC) + RETENTION + timedelta(minutes=1))
        kept = await log.read(RUN)

        assert [(record.first_seq, record.events) for record, _ in kept] == [(4, (end(4),))]
        assert kept[0][1] == writer.head
