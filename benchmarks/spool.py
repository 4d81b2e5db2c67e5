"""One item appended to a node's spool while calls run: how long the call waits for it.

Ours takes finished calls at an even pace: each trace is numbered and noted on the loop, encoded and written
by the spool's thread behind it. The limit appends the same bytes to a file on the loop, one write for each.
p50 and p99 are of the loop's time for one item; processor time has all that becomes of it.

    python -m benchmarks.spool NAME SECONDS
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.load import in_ms
from benchmarks.rounds import Contestant, Role, Sample
from benchmarks.servers import ROOT
from benchmarks.table import Goal
from meshcore.aio.spool_file import SpoolFile
from meshcore.clock import utcnow
from meshcore.frames import TraceItem
from meshcore.spool_entry import encode_entry, record
from meshcore.trace import Attempt, RoutingTrace

UNIT = "items"
OURS = "spool"
LIMIT = "plain append of the same bytes"
GOALS = (Goal(p99_ms=0.1),)
PACE_SECONDS = 0.001  # between two items: what a busy node has
GRACE_SECONDS = 60.0

Append = Callable[[], object]
"""Takes one item; what it takes of the loop's time is measured."""


def _item() -> TraceItem:
    """Return a call that failed over once, which is what an interesting trace looks like."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    attempts = (
        Attempt(n=1, node="bench", provider="alpha", outcome="error", code="timeout", ms=40.0),
        Attempt(n=2, node="bench", provider="beta", ms=200.0),
    )
    call = RoutingTrace(
        trace_id="0" * 32, capability="llm.chat", started_at=at, provider="beta", attempts=attempts
    )
    return TraceItem(seq=0, at=at, trace=call)


@asynccontextmanager
async def _ours(home: Path) -> AsyncIterator[tuple[Append, Callable[[], int]]]:
    """Give the append, and what tells how many were dropped."""
    async with SpoolFile.open(home, utcnow=utcnow) as spool:
        yield partial(spool.append, "trace", _item()), lambda: sum(spool.report().dropped.values())


@asynccontextmanager
async def _limit(home: Path) -> AsyncIterator[tuple[Append, Callable[[], int]]]:
    line = encode_entry(record(_item()))
    with (home / "plain").open("ab", buffering=0) as file:
        yield partial(os.write, file.fileno(), line), lambda: 0


SIDES = {OURS: _ours, LIMIT: _limit}


async def turn(name: str, seconds: float) -> Sample:
    """Append for `seconds`."""
    taken: list[float] = []
    with tempfile.TemporaryDirectory(prefix="meshboard-bench-") as folder:
        async with SIDES[name](Path(folder)) as (append, dropped):
            begin, cpu_begin = time.perf_counter(), time.process_time()
            while (passed := time.perf_counter() - begin) < seconds:
                before = time.perf_counter()
                append()
                taken.append(time.perf_counter() - before)
                await asyncio.sleep(PACE_SECONDS)
            cpu_seconds, errors = time.process_time() - cpu_begin, dropped()
    p50_ms, p99_ms = in_ms(taken)
    return Sample(
        count=len(taken), seconds=passed, cpu_seconds=cpu_seconds, errors=errors, p50_ms=p50_ms, p99_ms=p99_ms
    )


def _contestant(name: str, role: Role) -> Contestant:
    def measure(seconds: float) -> Sample:
        command = [sys.executable, "-m", __name__, name, str(seconds)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, timeout=seconds + GRACE_SECONDS, check=True
        )
        return Sample(**json.loads(done.stdout))

    return Contestant(name=name, role=role, measure=measure)


@contextmanager
def contestants(*, with_peers: bool) -> Iterator[list[Contestant]]:
    """Give those that are measured; there is no peer to compare with."""
    yield [_contestant(OURS, Role.OURS), _contestant(LIMIT, Role.LIMIT)]


def main(name: str, seconds: str) -> None:
    """Print one turn as JSON."""
    sample = asyncio.run(turn(name, float(seconds)))
    print(json.dumps({field: getattr(sample, field) for field in sample.__dataclass_fields__}))


if __name__ == "__main__":
    main(*sys.argv[1:])
