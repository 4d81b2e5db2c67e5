"""A stop that is asked for from a signal's handler, whatever was interrupted."""

import subprocess
import sys
import threading
from pathlib import Path

from script.stop_request import StopRequest

ROOT = Path(__file__).resolve().parent.parent.parent

# Waits in short turns, as the supervisor does, and is asked to stop somewhere in one of them.
HAMMERED = """
import signal
from script.stop_request import StopRequest

for attempt in range(400):
    stop = StopRequest()
    signal.signal(signal.SIGALRM, lambda *_: stop.set())
    signal.setitimer(signal.ITIMER_REAL, 0.0005 + attempt * 0.000003)
    while not stop.wait(0):
        pass
print("stopped")
"""


def test_it_is_not_set_until_somebody_asks() -> None:
    stop = StopRequest()

    assert not stop.is_set()
    assert not stop.wait(0.01)

    stop.set()

    assert stop.is_set()
    assert stop.wait(60)


def test_who_waits_is_woken() -> None:
    stop = StopRequest()
    threading.Timer(0.05, stop.set).start()

    assert stop.wait(60)


def test_asking_without_end_changes_nothing() -> None:
    stop = StopRequest()

    for _ in range(100_000):
        stop.set()

    assert stop.is_set()


def test_a_signal_may_ask_at_any_moment() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HAMMERED], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout) == (0, "stopped\n")
