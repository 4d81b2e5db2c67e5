"""One server to a database: the lock, between two processes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.serving.alone import AlreadyServed, alone

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "database.lock"


@pytest.fixture
def holder(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def test_the_second_one_is_refused_and_told_by_what(lock: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(AlreadyServed, match=r"database\.lock"), alone(lock, seconds=0.2):
        pass


def test_one_that_is_ending_is_waited_for(lock: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()

    with alone(lock, seconds=30):
        assert lock.exists()


def test_it_is_free_again_behind_its_holder(lock: Path) -> None:
    with alone(lock, seconds=0):
        pass

    with alone(lock, seconds=0):
        assert lock.exists()
