"""One append carried out to its end: what conflicted or got lost is read, judged and tried again."""

import asyncio
from collections.abc import AsyncIterator, Callable

from meshcore.aio.runlog.base import READ_RECORDS, Conflict, EngineGone, RunLog, Stored
from meshcore.backoff import Backoff
from meshcore.clock import Clock
from meshcore.run_events import AnyEvent
from meshcore.run_record import Head
from meshcore.run_writer import RunWriter, Turn

ENGINE_SECONDS = 2.0  # without an answer of the engine; then whoever appends stops
_BACKOFF = Backoff(base_seconds=0.02, cap_seconds=0.2)


async def append(
    log: RunLog,
    run_id: str,
    writer: RunWriter,
    append_id: str,
    *events: AnyEvent,
    clock: Clock,
    random: Callable[[], float],
    patience_seconds: float = ENGINE_SECONDS,
) -> Turn:
    """Append events as one record and return what follows: STORED, CANCEL or STOP.

    Raises EngineGone when nothing was heard of the engine for `patience_seconds`; the record stays pending
    then, and `settle` finds out later.
    """
    record = writer.draft(append_id, *events)
    try:
        writer.stored(await log.append(run_id, writer.head, record))
    except (Conflict, EngineGone):
        return await settle(
            log, run_id, writer, clock=clock, random=random, patience_seconds=patience_seconds
        )
    return Turn.STORED


async def settle(
    log: RunLog,
    run_id: str,
    writer: RunWriter,
    *,
    clock: Clock,
    random: Callable[[], float],
    patience_seconds: float = ENGINE_SECONDS,
) -> Turn:
    """Bring a pending record to its end, as `append`."""
    give_up_at, attempt = clock() + patience_seconds, 0
    while True:
        try:
            turn = await _once(log, run_id, writer)
        except EngineGone:
            if clock() >= give_up_at:
                raise
            await asyncio.sleep(_BACKOFF.delay_seconds(attempt, random=random))
            attempt += 1
            continue
        if turn is not Turn.RETRY:
            return turn
        give_up_at = clock() + patience_seconds  # the engine answers: only the race was lost


async def catch_up(log: RunLog, run_id: str, writer: RunWriter) -> Turn:
    """Read on from the writer's head and return what follows from it. Raises EngineGone."""
    return writer.behind([stored async for stored in behind(log, run_id, writer.head)])


async def behind(log: RunLog, run_id: str, head: Head) -> AsyncIterator[Stored]:
    """Yield all that stands behind `head`. Raises EngineGone."""
    while stored := await log.read(run_id, head.seq):
        for each in stored:
            yield each
        head = stored[-1][1]
        if len(stored) < READ_RECORDS:
            return


async def _once(log: RunLog, run_id: str, writer: RunWriter) -> Turn:
    """Try once. An answer that got lost is looked for in the log, and so is whoever was faster."""
    try:
        writer.stored(await log.append(run_id, writer.head, writer.again()))
    except Conflict:
        return await catch_up(log, run_id, writer)
    except EngineGone:
        turn = await catch_up(log, run_id, writer)
        if turn is Turn.RETRY:
            raise  # it reads, but it doesn't store, as on a full disk
        return turn
    return Turn.STORED
