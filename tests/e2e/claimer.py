"""A process that claims runs as soon as they are released, in a race with others: `URL NAME RUN...`.

Prints `ready -` when it waits for the first, and at last a line of JSON: for each run WON, LOST (its append
conflicted) or LATE (somebody's claim was there already when it looked).
"""

import asyncio
import json
import random
import sys

from meshcore.aio.runlog import RunLog, open_run_log
from meshcore.aio.runlog.appending import append
from meshcore.clock import monotonic
from meshcore.run_writer import RunWriter, Turn
from meshcore.runs import Claimed, ClaimReason

SECONDS = 60.0  # for all


async def claim(log: RunLog, name: str, run_id: str) -> str:
    """Wait until a run is released, and claim it."""
    writer = RunWriter(name)
    while not writer.state.released and writer.state.epoch < 2:
        writer.behind(await log.read(run_id, writer.head.seq))
    if writer.state.epoch > 1:
        return "LATE"
    event = Claimed(node=name, instance=name, epoch=2, reason=ClaimReason.CONTINUED)
    turn = await append(
        log,
        run_id,
        writer,
        f"{run_id}-{name}",
        event,
        clock=monotonic,
        random=random.random,
        patience_seconds=30.0,
    )
    return "WON" if turn is Turn.STORED and writer.owns else "LOST"


async def main(url: str, name: str, *run_ids: str) -> None:
    """Claim all, one after the other."""
    async with asyncio.timeout(SECONDS):
        log = await open_run_log(url)
        print("ready -", flush=True)
        print(json.dumps([await claim(log, name, run_id) for run_id in run_ids]))
        await log.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
