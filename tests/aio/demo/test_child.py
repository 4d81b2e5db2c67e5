"""A child process from birth to death, with real ones."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshcore.aio.demo.child import Child, ChildError, ChildState
from meshcore.aio.testing import wait_until

SERVES = "import sys; print('hello'); print('ready http://here', flush=True); sys.stdin.read()"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready x', flush=True); time.sleep(600)"
)
DIES = "import sys; sys.exit('no such thing')"
MUTE = "import sys; sys.stdin.read()"


def make_child(folder: Path, code: str) -> Child:
    return Child([sys.executable, "-c", code], env=os.environ, cwd=folder, log=folder / "log")


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[Child]:
    """A child that serves."""
    child = make_child(tmp_path, SERVES)
    await child.start(ready_seconds=30)
    yield child
    await child.kill()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_child_is_up_when_it_says_so(child: Child) -> None:
    assert child.state is ChildState.UP
    assert child.pid is not None


async def test_starting_what_lives_changes_nothing(child: Child) -> None:
    pid = child.pid

    await child.start(ready_seconds=30)

    assert child.pid == pid


async def test_a_killed_child_is_gone_and_may_be_started_again(child: Child) -> None:
    first = child.pid

    await child.kill()
    gone = (child.state, child.pid)
    await child.start(ready_seconds=30)

    assert gone == (ChildState.DOWN, None)
    assert child.pid not in (None, first)


async def test_a_stopped_child_ends_by_itself(child: Child) -> None:
    pid = child.pid
    assert pid is not None

    await child.stop(grace_seconds=30)

    assert not alive(pid)


async def test_a_child_that_ignores_the_request_is_killed_after_the_grace(tmp_path: Path) -> None:
    child = make_child(tmp_path, STUBBORN)
    await child.start(ready_seconds=30)
    pid = child.pid
    assert pid is not None

    await child.stop(grace_seconds=0.1)

    assert not alive(pid)


async def test_stopping_what_never_lived_is_nothing(tmp_path: Path) -> None:
    child = make_child(tmp_path, SERVES)

    await child.stop(grace_seconds=1)

    assert child.state is ChildState.DOWN
    assert child.log_tail() == ""


async def test_a_child_that_dies_at_once_says_why(tmp_path: Path) -> None:
    child = make_child(tmp_path, DIES)

    with pytest.raises(ChildError, match="no such thing"):
        await child.start(ready_seconds=30)

    assert child.state is ChildState.DOWN


async def test_a_child_that_is_never_ready_is_killed(tmp_path: Path) -> None:
    child = make_child(tmp_path, MUTE)

    with pytest.raises(ChildError, match=r"not ready within 0\.2 s"):
        await child.start(ready_seconds=0.2)

    assert child.state is ChildState.DOWN


async def test_a_child_that_cannot_be_started_leaves_no_pipe(tmp_path: Path) -> None:
    child = Child(["/nonexistent"], env={}, cwd=tmp_path, log=tmp_path / "log")
    pipes = len(os.listdir("/proc/self/fd"))

    with pytest.raises(FileNotFoundError):
        await child.start(ready_seconds=1)

    assert len(os.listdir("/proc/self/fd")) == pipes


async def test_a_child_starting_up_is_neither_up_nor_down(tmp_path: Path) -> None:
    child = make_child(tmp_path, MUTE)
    start = asyncio.create_task(child.start(ready_seconds=30))

    await wait_until(lambda: child.state is ChildState.STARTING)

    await child.kill()
    with pytest.raises(ChildError):
        await start


async def test_a_child_reads_the_end_when_its_maker_dies(tmp_path: Path) -> None:
    maker = f"""
import asyncio, os, pathlib, signal, sys
from meshcore.aio.demo.child import Child

async def main():
    child = Child([sys.executable, "-c", {SERVES!r}], env=os.environ, cwd=".", log=pathlib.Path("log"))
    await child.start(ready_seconds=30)
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    env = os.environ | {"PYTHONPATH": os.getcwd()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", maker, cwd=tmp_path, env=env, stdout=asyncio.subprocess.PIPE
    )

    output, _ = await process.communicate()

    await wait_until(lambda: not alive(int(output)))
