"""The commands of docs/api.md do what it says, on a dashboard with two nodes."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.calls import chunks
from tests.e2e.harness import ROOT, Node
from tests.e2e.room import Room
from tests.e2e.run_stage import make

BLOCK = re.compile(r"<!-- test: (.+?) -->\n```bash\n(.*?)```", flags=re.DOTALL)
SECONDS = 60.0
SCOPES = ("nodes:drain", "read", "breakers:write", "audit:read")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def commands() -> dict[str, str]:
    """The blocks of the document, by name."""
    return dict(BLOCK.findall((ROOT / "docs" / "api.md").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def node_a(room: Room) -> Node:
    """node-a; node-b serves the same model."""
    return room.pair()[0]


@pytest.fixture(scope="module")
def started(room: Room, node_a: Node) -> Room:
    """The room with both."""
    return room


@pytest.fixture(scope="module")
def environ(started: Room) -> dict[str, str]:
    """What the document asks for: where, who, and of which node."""
    scopes = [part for scope in SCOPES for part in ("--scope", scope)]
    token = started.dashboard.manage("add_token", "docs", *scopes).split()[-1]
    return {**os.environ, "MESH_URL": started.dashboard.url, "MESH_TOKEN": token, "NODE": "node-a"}


def run(script: str, environ: dict[str, str], folder: Path) -> str:
    """Run commands to their end and return what they printed."""
    bash = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        bash, env=environ, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_is_run_below(commands: dict[str, str]) -> None:
    assert set(commands) == {"drain and wait", "undrain", "breaker", "audit", "watch"}


def test_a_node_is_drained_waited_for_and_given_back(
    commands: dict[str, str], environ: dict[str, str], started: Room, tmp_path: Path
) -> None:
    run(commands["drain and wait"], environ, tmp_path)
    assert started.drain_of("node-a")["safe_to_stop"] is True

    run(commands["undrain"], environ, tmp_path)
    started.wait_for("node-a", "running")
    [entry] = started.audit(action="undrain")
    assert (entry["actor_name"], entry["reason"]) == ("docs", "rolled out")


def test_a_breaker_is_forced_open_and_let_go(
    commands: dict[str, str], environ: dict[str, str], started: Room, tmp_path: Path
) -> None:
    run(commands["breaker"], environ, tmp_path)

    done = {entry["action"] for entry in started.audit(target="node:node-b")}
    assert {"breaker.force_open", "breaker.lift"} <= done
    assert started.ask("breakers/overrides")["results"] == []


def test_the_audit_is_exported_whole_and_verified(
    commands: dict[str, str], environ: dict[str, str], started: Room, tmp_path: Path
) -> None:
    printed = run(commands["audit"].replace("limit=500", "limit=2"), environ, tmp_path)

    numbers = [json.loads(line)["n"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert numbers == list(range(len(numbers), 0, -1))
    verified = json.loads(printed)
    assert verified["ok"] is True
    assert verified["entries"] >= len(numbers)  # what nodes did about orders may have come behind the export


def test_a_run_is_watched_to_its_end(
    commands: dict[str, str], environ: dict[str, str], node_a: Node, tmp_path: Path
) -> None:
    run_id = make(node_a, "slow:5x50")

    said = run(commands["watch"], {**environ, "RUN": run_id}, tmp_path)

    data = [
        json.loads(line.removeprefix("data: ")) for line in said.splitlines() if line.startswith("data: ")
    ]
    assert "".join(each["delta"].get("content") or "" for each in data if "delta" in each) == chunks(5)
    assert data[-1]["status"] == "completed"
