"""A folder belongs to one process."""

import subprocess
import sys
from pathlib import Path

import pytest

from meshcore.aio.lock_file import held_lock
from meshcore.errors import AlreadyRunning

HOLD = """
import os, sys
from pathlib import Path
from meshcore.aio.lock_file import held_lock
with held_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_refused_by_name_until_the_holder_ends(tmp_path: Path) -> None:
    lock = tmp_path / "home" / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        with pytest.raises(AlreadyRunning) as refusal, held_lock(lock):
            pass

        holder.kill()
    assert str(refusal.value) == f"already running: {lock} is held by process {holder.pid}"
    with held_lock(lock):
        assert lock.exists()


def test_an_unknown_holder_is_another_process() -> None:
    assert str(AlreadyRunning("/home/lock")) == "already running: /home/lock is held by another process"
