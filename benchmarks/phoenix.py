"""Phoenix, a peer of `ingest`: an observability server that stores spans into SQLite, as it does by default.

It has an environment of its own, .venv-bench-phoenix: its packages and LiteLLM's can't be in one.
"""

import subprocess
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benchmarks import peers
from benchmarks.load import Target
from benchmarks.rounds import Contestant, Role, Sample
from benchmarks.servers import ROOT, Server, ServerFailed, free_port, started

NAME = "Phoenix 20.20.0"
VENV = ROOT / ".venv-bench-phoenix"
REQUIREMENTS = ROOT / "benchmarks" / "requirements-phoenix.txt"
READY_SECONDS = 120.0
GRACE_SECONDS = 60.0


def contestant(stack: ExitStack, scratch: Path) -> Contestant:
    """Install and start it; return who is measured, or why it can't be."""
    try:
        python = peers.ensure(VENV, REQUIREMENTS)
        server, port = _start(stack, scratch, python)
    except (peers.PeersMissing, ServerFailed) as exc:
        return Contestant(name=NAME, role=Role.PEER, failure=str(exc))
    database = scratch / "phoenix" / "phoenix.db"

    def measure(seconds: float) -> Sample:
        command = [str(python), "-m", "benchmarks.phoenix_turn", str(port), str(database), str(seconds)]
        before = server.cpu_seconds()
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, timeout=seconds + GRACE_SECONDS, check=True
        )
        count, passed = msgspec.json.decode(done.stdout, type=tuple[int, float])
        return Sample(count=count, seconds=passed, cpu_seconds=server.cpu_seconds() - before)

    return Contestant(name=NAME, role=Role.PEER, measure=measure)


def _start(stack: ExitStack, scratch: Path, python: Path) -> tuple[Server, int]:
    port = free_port()
    environ = {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": str(scratch / "phoenix"),
        "PHOENIX_SQL_DATABASE_URL": f"sqlite:///{scratch / 'phoenix' / 'phoenix.db'}",
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    (scratch / "phoenix").mkdir()
    command = [str(python.parent / "phoenix"), "serve"]
    server = stack.enter_context(started("phoenix", command, scratch=scratch, environ=environ))
    protobuf = {"Content-Type": "application/x-protobuf"}  # an empty body is a request without spans
    ready = Target(url=f"http://127.0.0.1:{port}/v1/traces", body=b"", headers=protobuf, marker=b"")
    server.wait_until_answering(ready, seconds=READY_SECONDS)
    return server, port
