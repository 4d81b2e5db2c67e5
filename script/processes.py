"""Child processes that are started, watched and surely ended together.

Each child leads a process group of its own, so that Ctrl-C in the terminal reaches only their parent, which
then ends the groups one after the other: SIGTERM, some grace, SIGKILL. A parent that is killed itself can't
do that: so a child's standard input is a pipe that only its parent holds, and its end is the end of a child
that was started with `--lifeline`.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from script.stop_request import StopRequest

READY_LINE = re.compile(r"^ready (https?://\S+)")
LAST_LINES_MAX = 40  # kept of a quiet child, to be shown when it fails
POLL_SECONDS = 0.05
STOP_SECONDS = 4.0  # from the first SIGTERM to the last SIGKILL; 5 s are promised, on a busy machine too


class StartFailed(Exception):
    """A child ended or kept silent instead of getting ready; the text says which and shows its last words."""


class Stopped(Exception):
    """Somebody asked us to stop while we waited."""


class Child:
    """A running process. Its lines are printed with its name in front, or kept back while it is `quiet`.

    A line "ready URL" on its standard output is how it says that it is ready, and where.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, environ: Mapping[str, str], cwd: Path, quiet: bool = False
    ) -> None:
        self.name = name
        self.url = ""
        self._quiet = quiet
        self._ready = threading.Event()
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES_MAX)
        self._process = subprocess.Popen(
            command,
            env=dict(environ),
            cwd=cwd,
            stdin=subprocess.PIPE,  # the lifeline: never written to
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdin is not None  # noqa: S101  # for mypy: both are pipes
        assert self._process.stdout is not None  # noqa: S101  # the same
        with self._process.stdin, self._process.stdout as lines:
            for line in lines:
                self._take(line.rstrip("\n"))

    def _take(self, line: str) -> None:
        self._last_lines.append(line)
        if not self.url and (ready := READY_LINE.match(line)):
            self.url = ready[1]
            self._ready.set()
        if not self._quiet:
            print(f"{self.name:>9} | {line}", flush=True)

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def wait_until_ready(self, stop: StopRequest, *, seconds: float) -> str:
        """Return the URL that the child serves. Raises StartFailed, or Stopped when `stop` is set."""
        give_up_at = time.monotonic() + seconds
        while not self._ready.wait(POLL_SECONDS):
            if stop.is_set():
                raise Stopped
            if self.exit_code is not None:
                raise StartFailed(self._failure(f"ended with exit code {self.exit_code} before it was ready"))
            if time.monotonic() > give_up_at:
                raise StartFailed(self._failure(f"was not ready within {seconds:g} s"))
        return self.url

    def wait_until_done(self, stop: StopRequest, *, seconds: float) -> str:
        """Return the last lines that the child printed. Raises StartFailed unless it succeeds, or Stopped."""
        give_up_at = time.monotonic() + seconds
        while self.exit_code is None:
            if stop.wait(POLL_SECONDS):
                raise Stopped
            if time.monotonic() > give_up_at:
                raise StartFailed(self._failure(f"was not done within {seconds:g} s"))
        self._reader.join(
            POLL_SECONDS * 20
        )  # a grandchild may hold the pipe open for longer; nobody waits for it
        if self.exit_code:
            raise StartFailed(self._failure(f"failed with exit code {self.exit_code}"))
        return "\n".join(self._last_lines)

    def _failure(self, what: str) -> str:
        self._reader.join(POLL_SECONDS * 20)
        words = [f"  {line}" for line in self._last_lines] if self._quiet else []
        return "\n".join([f"{self.name} {what}", *words])

    def terminate(self, *, seconds: float) -> None:
        """Ask the group to end and wait for the child, at most `seconds`."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            print(f"{self.name} does not end by itself", file=sys.stderr, flush=True)

    def kill(self) -> None:
        """End whatever is left of the group, now."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # the whole group has ended
            os.killpg(self._process.pid, number)


def stop_all(children: Sequence[Child], *, seconds: float = STOP_SECONDS) -> None:
    """End the children within `seconds`, the last one started first: each depends on those before it."""
    kill_at = time.monotonic() + seconds
    for waiting, child in enumerate(reversed(children)):
        left = len(children) - waiting
        child.terminate(seconds=(kill_at - time.monotonic()) / left)
    for child in children:
        child.kill()
