"""A process that claims released runs in races with others: `URL NAME START RUN...`.

It reads all runs first and prints `ready -`. The file START, once it is there, has the moment of the first
race, by the clock that all processes of a machine share; from then on there is one every few milliseconds. At
last it prints a line of JSON: of each race whether it was won.
"""

import asyncio
import json
import random
import sys
from pathlib import Path

from meshcore.aio.runlog import RunLog, open_run_log
from meshcore.aio.runlog.appending import append, catch_up
from meshcore.clock import monotonic
from meshcore.run_events import Claimed, ClaimReason
from meshcore.run_writer import RunWriter, Turn
from tests.e2e.harness import until

BETWEEN_SECONDS = 0.02
START_SECONDS = 60.0  # to wait for the start


async def claim(log: RunLog, run_id: str, writer: RunWriter) -> bool:
    """Claim a run as it was when it was read; return whether it is ours then."""
    event = Claimed(node=writer.instance, instance=writer.instance, epoch=2, reason=ClaimReason.CONTINUED)
    turn = await append(
        log,
        run_id,
        writer,
        f"{run_id}-{writer.instance}",
        event,
        clock=monotonic,
        random=random.random,
        patience_seconds=30.0,
    )
    return turn is Turn.STORED and writer.owns


def begin_of_races(start: Path) -> float:
    """Wait until somebody has said when, and return it."""
    until(start.exists, "the start", seconds=START_SECONDS)
    return float(start.read_text())


async def main(url: str, name: str, start: str, *run_ids: str) -> None:
    """Race for all, one after the other."""
    log = await open_run_log(url)
    writers = {run_id: RunWriter(name) for run_id in run_ids}
    for run_id, writer in writers.items():
        await catch_up(log, run_id, writer)
    print("ready -", flush=True)
    at, won = await asyncio.to_thread(begin_of_races, Path(start)), []
    for run_id, writer in writers.items():
        await asyncio.sleep(at - monotonic())
        won.append(await claim(log, run_id, writer))
        at += BETWEEN_SECONDS
    print(json.dumps(won))
    await log.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
