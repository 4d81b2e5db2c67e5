"""Runs `python -m meshcore` with a wall clock that a test sets: `FILE ARGUMENTS...`.

The file has the seconds by which every look at the wall clock differs from the truth; it may change at any
time. Monotonic clocks are the true ones, as when somebody sets the clock of a machine.
"""

import runpy
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import meshcore.clock


def main() -> None:
    """Put our clock in place before anybody has taken the real one, then be the program."""
    shift = Path(sys.argv.pop(1))
    true_now, true_time = meshcore.clock.utcnow, time.time

    def utcnow() -> datetime:
        return true_now() + timedelta(seconds=float(shift.read_text()))

    meshcore.clock.utcnow = utcnow
    time.time = lambda: true_time() + float(shift.read_text())
    runpy.run_module("meshcore", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
