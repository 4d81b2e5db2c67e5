"""The demo as a process: up, told to stop, gone with all its children."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcore.aio.demo.plan import Plan
from meshcore.aio.demo.run import mesh_file
from tests.e2e.harness import until

RUN = """
import asyncio, json, sys
from pathlib import Path
from meshcore.aio.demo.plan import Plan
from meshcore.aio.demo.run import run_demo

given = json.loads(sys.argv[1])
plan = Plan(
    folder=Path(given["folder"]),
    dashboard_url="http://127.0.0.1:9",
    mesh_secret="of-the-mesh",
    token_files={node: Path(file) for node, file in given["token_files"].items()},
    ports=given["ports"],
)
announce = lambda url: print(f"ready {url}", flush=True)
asyncio.run(run_demo(plan, code=Path.cwd(), announce=announce, lifeline=True))
"""


@pytest.fixture
def demo(plan: Plan) -> Iterator[subprocess.Popen[str]]:
    """A demo that is starting."""
    given = {
        "folder": str(plan.folder),
        "token_files": {node: str(file) for node, file in plan.token_files.items()},
        "ports": dict(plan.ports),
    }
    argv = [sys.executable, "-c", RUN, json.dumps(given)]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as demo:
        yield demo
        demo.kill()


def node_pids(url: str) -> list[int]:
    with urllib.request.urlopen(f"{url}/state") as answer:
        return list(json.load(answer)["pids"].values())


def ready_url(demo: subprocess.Popen[str]) -> str:
    assert demo.stdout is not None
    return demo.stdout.readline().removeprefix("ready ").strip()


def test_a_demo_says_where_it_is_and_takes_everything_with_it(
    demo: subprocess.Popen[str], plan: Plan
) -> None:
    url = ready_url(demo)
    mesh = json.loads(mesh_file(plan.folder).read_text())
    pids = node_pids(url)

    demo.send_signal(signal.SIGTERM)

    assert demo.wait(timeout=30) == 0
    assert mesh == {
        "control_url": url,
        "pid": demo.pid,
        "nodes": [{"id": node, "url": plan.url(node)} for node in ("node-a", "node-b", "node-c")],
    }
    assert not mesh_file(plan.folder).exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_nodes_of_a_demo_that_was_killed_end_by_themselves(demo: subprocess.Popen[str]) -> None:
    pids = node_pids(ready_url(demo))

    demo.kill()

    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_a_demo_ends_with_its_lifeline(demo: subprocess.Popen[str], plan: Plan) -> None:
    ready_url(demo)
    assert demo.stdin is not None

    demo.stdin.close()

    assert demo.wait(timeout=30) == 0
    assert not mesh_file(plan.folder).exists()


def test_a_demo_can_be_stopped_while_it_starts(demo: subprocess.Popen[str], plan: Plan) -> None:
    until((plan.folder / "node-a.log").exists)

    os.kill(demo.pid, signal.SIGINT)

    assert demo.wait(timeout=30) == 0
    assert not mesh_file(plan.folder).exists()
