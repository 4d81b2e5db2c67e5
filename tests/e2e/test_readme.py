"""The lines of "Your own provider in five minutes" do what README.md says."""

import json
import os
import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from script.processes import Child, stop_all
from script.run_mesh import TOKEN, Meshboard, running
from script.stop_request import StopRequest
from tests.e2e.harness import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
LINES = re.compile(r"<!-- test: your own provider -->\n```bash\n(.*?)```", flags=re.DOTALL)
SECONDS = 60.0

pytestmark = pytest.mark.e2e


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Meshboard]:
    """A dashboard with nothing in it."""
    board = Meshboard(tmp_path / "var", free_port(), StopRequest())
    with running(board):
        board.step("migrate", "--no-input", "--verbosity=0")
        board.open(demo=False)
        yield board


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[str]:
    """The base URL of a provider that has the model of the README."""
    command = [sys.executable, "-m", "meshcore", "mock-ai", "--port", "0", "--model", "llama3"]
    mock = Child("mock-ai", command, environ=os.environ, cwd=ROOT)
    yield f"{mock.wait_until_ready(StopRequest(), seconds=SECONDS)}/v1"
    stop_all([mock])


def test_your_own_provider_answers_and_its_call_is_in_the_dashboard(
    board: Meshboard, upstream: str, checkout: Path
) -> None:
    lines = LINES.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    script = lines[0].replace("8120", str(free_port()))
    environ = {**os.environ, "UPSTREAM": upstream, "MESH_URL": board.url, "MESH_VAR": str(board.var)}

    shell = Child("README", ["bash", "-euo", "pipefail", "-c", script], environ=environ, cwd=checkout)
    board.children.append(shell)  # with the node that it leaves running
    output = shell.wait_until_done(StopRequest(), seconds=SECONDS)

    assert '"chunk-1 chunk-2 ' in output
    assert trace_of(board, "laptop")["outcome"] == "ok"


def trace_of(board: Meshboard, node: str) -> Any:
    """The first call of a node that the dashboard knows; waits until there is one."""
    token = TOKEN.search(board.step("add_token", "test", "--scope", "read"))
    assert token
    headers = {"Authorization": f"Bearer {token[0]}"}
    request = urllib.request.Request(f"{board.url}/api/v1/traces?node={node}", headers=headers)
    give_up_at = time.monotonic() + SECONDS
    while time.monotonic() < give_up_at:
        with urllib.request.urlopen(request) as answer:
            if traces := json.load(answer)["results"]:
                return traces[0]
        time.sleep(0.1)
    raise AssertionError(f"no trace of {node} in the dashboard")
