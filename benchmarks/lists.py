"""The pages of the list of traces: newest, along each index, deep down, by a filter without one; one call.

A page is everything from the request to the bytes, of somebody who is signed in, in a process of its own. The
limit is the list's rows by a raw index scan on the same database in the same run. By the environment:

    MESH_BENCH_TRACES     calls in each table, 10 000 to 10 000 000 (200 000)
    MESH_BENCH_POSTGRES   where a database is made, filled and dropped; "" for SQLite alone
    MESH_BENCH_DATABASES  DATABASE_URLs, by spaces, of databases that `python -m benchmarks.lists_turn fill
                          CALLS` has filled: nothing is made then, so ten millions are filled once
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from benchmarks.lists_turn import PAGES, RAW
from benchmarks.rounds import Contestant, Role, Sample
from benchmarks.servers import ROOT, STOP_SECONDS, ServerFailed
from benchmarks.table import Goal

UNIT = "pages"
TRACES, TRACES_MIN, TRACES_MAX = 200_000, 10_000, 10_000_000
POSTGRES = "postgres://postgres@127.0.0.1:5432"
P99_MS = 100.0  # the design's bound is on 95 of 100; the table has 99
ENGINES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
LAST_WORDS_MAX_CHARS = 300


def names(engine: str) -> list[str]:
    """Return the names of an engine's contestants, the raw scan last."""
    return [f"{engine}: {name}" for name in (*PAGES, RAW)]


GOALS = tuple(Goal(p99_ms=P99_MS, who=name) for engine in ENGINES.values() for name in names(engine)[:-1])


class Turns:
    """A process with one database open, which takes turns when it is asked to."""

    def __init__(self, url: str, scratch: Path) -> None:
        self.url = url
        self._errors = scratch / f"{url.partition(':')[0]}.log"
        environment = {**os.environ, "DATABASE_URL": url, "MESH_VAR": str(scratch / "var")}
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.lists_turn", "serve"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def ask(self, what: str, **more: object) -> dict[str, float]:
        """Return the answer to an order. Raises ServerFailed when the process has ended."""
        orders, answers = _open(self._process.stdin), _open(self._process.stdout)
        try:
            orders.write(json.dumps({"what": what, **more}) + "\n")
            orders.flush()
            return dict(json.loads(answers.readline()))
        except (OSError, ValueError) as exc:
            words = self._errors.read_text(errors="replace").strip()[-LAST_WORDS_MAX_CHARS:]
            raise ServerFailed(f"lists: {words or exc}") from exc

    def measure(self, what: str, seconds: float) -> Sample:
        """Take one turn."""
        found = self.ask(what, seconds=seconds)
        return Sample(
            count=int(found["count"]),
            seconds=found["seconds"],
            cpu_seconds=found["cpu_seconds"],
            p50_ms=found["p50_ms"],
            p99_ms=found["p99_ms"],
        )

    def end(self) -> None:
        """End the process."""
        _open(self._process.stdin).close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _open(self._process.stdout).close()


def _open(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # noqa: S101 - it was asked for a pipe
    return stream


@contextmanager
def contestants(*, with_peers: bool) -> Iterator[list[Contestant]]:
    """Fill a database of each engine and give what is measured; there is no peer to compare with."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshboard-bench-")))
        found: list[Contestant] = []
        for url, filled in _databases(stack, scratch):
            turns = Turns(url, scratch)
            stack.callback(turns.end)
            if not filled:
                turns.ask("fill", calls=_calls())
            found += _of(turns)
        yield found


def _of(turns: Turns) -> list[Contestant]:
    engine = next(name for scheme, name in ENGINES.items() if turns.url.startswith(scheme))
    return [
        Contestant(
            name=name,
            role=Role.LIMIT if what == RAW else Role.OURS,
            measure=partial(turns.measure, what),
        )
        for what, name in zip((*PAGES, RAW), names(engine), strict=True)
    ]


def _databases(stack: ExitStack, scratch: Path) -> Iterator[tuple[str, bool]]:
    """Yield the URL of each database, and whether it is filled already."""
    given = os.environ.get("MESH_BENCH_DATABASES", "").split()
    if given:
        yield from ((url, True) for url in given)
        return
    yield f"sqlite:///{scratch}/lists.sqlite3", False
    server = os.environ.get("MESH_BENCH_POSTGRES", POSTGRES).rstrip("/")
    if server and _answers(server):
        yield stack.enter_context(_postgres(server)), False


def _answers(server: str) -> bool:
    import psycopg

    try:
        psycopg.connect(f"{server}/postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def _postgres(server: str) -> Iterator[str]:
    """Make a database, and drop it."""
    import psycopg

    name = f"meshboard_bench_{secrets.token_hex(4)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield f"{server}/{name}?statement_seconds=0"
    finally:
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _calls() -> int:
    text = os.environ.get("MESH_BENCH_TRACES", str(TRACES))
    if not (text.isascii() and text.isdigit() and TRACES_MIN <= int(text) <= TRACES_MAX):
        allowed = f"a number from {TRACES_MIN} to {TRACES_MAX}"
        raise ServerFailed(f"MESH_BENCH_TRACES={text[:20]!r}: expected {allowed}")
    return int(text)
