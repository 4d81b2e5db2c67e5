"""Loops in one process: a contestant's turn is a fresh process that calls something again and again.

    python -m benchmarks.loops MODULE NAME SECONDS

`MODULE.LOOPS[NAME]` is an async function that does one thing `times` times. It must import what it needs by
itself: each peer's packages exist only in the environment that has them.
"""

import asyncio
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.rounds import Contestant, Role, Sample

ROOT = Path(__file__).resolve().parent.parent
BATCH = 500  # between two looks at the clock
GRACE_SECONDS = 60.0

Loop = Callable[[int], Awaitable[None]]
"""Does one thing so many times."""

Prepare = Callable[[], Loop]
"""Makes what a loop needs, inside a running event loop."""


def contestant(name: str, role: Role, module: str, python: str = sys.executable) -> Contestant:
    """Return who is measured by `module.LOOPS[name]`, run by `python`."""

    def measure(seconds: float) -> Sample:
        command = [python, "-m", "benchmarks.loops", module, name, str(seconds)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, timeout=seconds + GRACE_SECONDS, check=True
        )
        return Sample(**json.loads(done.stdout))

    return Contestant(name=name, role=role, measure=measure)


async def turn(prepare: Prepare, seconds: float) -> Sample:
    """Call for `seconds`, after a first batch that isn't counted."""
    loop = prepare()
    await loop(BATCH)
    count, begin, cpu_begin = 0, time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - begin) < seconds:
        await loop(BATCH)
        await asyncio.sleep(0)  # as in any server, the event loop gets to clear its timers away
        count += BATCH
    return Sample(count=count, seconds=passed, cpu_seconds=time.process_time() - cpu_begin)


def main(module: str, name: str, seconds: str) -> None:
    """Print one turn as JSON."""
    loops: dict[str, Prepare] = importlib.import_module(module).LOOPS
    sample = asyncio.run(turn(loops[name], float(seconds)))
    print(json.dumps({"count": sample.count, "seconds": sample.seconds, "cpu_seconds": sample.cpu_seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
