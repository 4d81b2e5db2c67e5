"""Traces with two attempts each, stored and acknowledged, beside the raw limit of the same rows and Phoenix.

Ours is the dashboard's end of the link without the socket: 16 nodes' `LinkSession`s in one process with its
runtime, each fed lines as they come over the wire, a window of them at a time, and told what is committed.
So frames are parsed, checked, gathered, stored under their marks and announced in the change feed, as in
`serve`; the nodes' lines are made in the same process and count as its processor time.

The limits write rows that were made before, 2 000 in a transaction, into the same tables of the same
databases with all their indexes: executemany on SQLite, COPY on PostgreSQL. That one answers at its usual
port or comes from its wheel; the processor time is its client's alone. Phoenix stores a call with two
attempts as three spans; it answers before it stores, so what counts is what its database has.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import msgspec

from benchmarks import phoenix
from benchmarks.rounds import Contestant, Role, Sample
from benchmarks.servers import ROOT, ServerFailed
from benchmarks.table import Goal

UNIT = "traces"
OURS_SQLITE, RAW_SQLITE = "link, SQLite", "executemany, SQLite"
OURS_POSTGRESQL, RAW_POSTGRESQL = "link, PostgreSQL", "COPY, PostgreSQL"
GOALS = (
    Goal(ratio=0.33, of=RAW_SQLITE),
    Goal(rate=10_000),
    Goal(rate=10_000, who=OURS_POSTGRESQL),
    Goal(ratio=0.33, of=RAW_POSTGRESQL, who=OURS_POSTGRESQL),
    Goal(ratio=100, of=phoenix.NAME),
)
GRACE_SECONDS = 60.0
SETUP_SECONDS = 120.0
TURNS = {"link": "benchmarks.ingest_link", "raw": "benchmarks.ingest_raw"}


@contextmanager
def contestants(*, with_peers: bool, with_postgresql: bool = True) -> Iterator[list[Contestant]]:
    """Make the databases; give those that are measured."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshboard-bench-")))
        found = _on({"MESH_VAR": str(scratch / "var")}, OURS_SQLITE, RAW_SQLITE)
        if with_postgresql:
            found += _postgresql(stack, scratch)
        if with_peers:
            found.append(phoenix.contestant(stack, scratch))
        yield found


def _postgresql(stack: ExitStack, scratch: Path) -> list[Contestant]:
    from tests.engines import servers

    try:
        url = servers.POSTGRES_SERVICE
        if not servers.postgres_answers(url):
            scratch.chmod(0o711)  # the server is another user's
            url = stack.enter_context(servers.postgres_from_wheel(scratch))
    except servers.NoServer as exc:
        roles = {OURS_POSTGRESQL: Role.OURS, RAW_POSTGRESQL: Role.LIMIT}
        return [Contestant(name=name, role=role, failure=str(exc)) for name, role in roles.items()]
    database = stack.enter_context(servers.database_of_our_own(url))
    environ = {"MESH_VAR": str(scratch / "var-postgresql"), "DATABASE_URL": database}
    return _on(environ, OURS_POSTGRESQL, RAW_POSTGRESQL)


def _on(environ: Mapping[str, str], ours: str, raw: str) -> list[Contestant]:
    """Return who is measured on one database, which is made now. Raises ServerFailed."""
    environ = {"MESH_URL": "http://127.0.0.1:8000", "DATABASE_URL": "", **environ}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    made = _run(command, environ, seconds=SETUP_SECONDS)
    if made.returncode:
        raise ServerFailed(f"manage.py migrate: {made.stderr[-200:].decode(errors='replace')}")
    return [
        Contestant(name=ours, role=Role.OURS, measure=partial(_turn, environ, TURNS["link"])),
        Contestant(name=raw, role=Role.LIMIT, measure=partial(_turn, environ, TURNS["raw"])),
    ]


def _turn(environ: Mapping[str, str], module: str, seconds: float) -> Sample:
    done = _run([sys.executable, "-m", module, str(seconds)], environ, seconds=seconds + GRACE_SECONDS)
    if done.returncode:
        raise ServerFailed(f"{module}: {done.stderr[-400:].decode(errors='replace')}")
    return msgspec.json.decode(done.stdout, type=Sample)


def _run(
    command: list[str], environ: Mapping[str, str], *, seconds: float
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, timeout=seconds, check=False
    )
