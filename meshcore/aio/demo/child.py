"""One process of the demo: a group of its own, a log file, and a pipe without which it doesn't live.

The child's standard input is a pipe that only its maker holds: when the maker dies, however suddenly, the
child reads the end and stops by itself (`meshcore node --lifeline`).
"""

import asyncio
import enum
import os
import signal
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY = b"ready "
LOG_TAIL_CHARS = 2000


class ChildState(enum.StrEnum):
    """How a child stands."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"


class ChildError(Exception):
    """The child ended, or wasn't ready in time; the message has the end of its log."""


@dataclass(slots=True)
class _Life:
    """One life of a child, from its start to its end."""

    process: asyncio.subprocess.Process
    lifeline: int  # the writing end of its standard input
    ready: asyncio.Event
    output: asyncio.Task[None]


class Child:
    """A process that says `ready URL` on its standard output when it serves; it may be started again."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self._argv = argv
        self._env = dict(env)
        self._cwd = cwd
        self._log = log
        self._life: _Life | None = None

    @property
    def state(self) -> ChildState:
        """How the child stands now."""
        if self._life is None or self._life.process.returncode is not None:
            return ChildState.DOWN
        return ChildState.UP if self._life.ready.is_set() else ChildState.STARTING

    @property
    def pid(self) -> int | None:
        """The process id of the present life."""
        return self._life.process.pid if self._life else None

    async def start(self, *, ready_seconds: float) -> None:
        """Start the process and wait until it is ready; raises ChildError. Does nothing while it lives."""
        if self.state is not ChildState.DOWN:
            return
        await self._bury()
        life = self._life = await self._born()
        if not await _first(life.ready.wait(), life.process.wait(), seconds=ready_seconds):
            await self.kill()
            raise ChildError(
                f"{' '.join(self._argv)}: not ready within {ready_seconds:g} s\n{self.log_tail()}"
            )

    async def kill(self) -> None:
        """End the process and its group at once, and wait until it has ended."""
        self._signal(signal.SIGKILL)
        await self._bury()

    async def stop(self, *, grace_seconds: float) -> None:
        """Ask the process to end, and end it when it hasn't after the grace."""
        self._signal(signal.SIGTERM)
        if self._life is not None:
            await _first(self._life.process.wait(), seconds=grace_seconds)
        await self.kill()

    def log_tail(self) -> str:
        """Return the end of what the last life has logged."""
        try:
            return self._log.read_text(errors="replace")[-LOG_TAIL_CHARS:]
        except OSError:
            return ""

    async def _born(self) -> _Life:
        reading, lifeline = os.pipe()
        try:
            with self._log.open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *self._argv,
                    stdin=reading,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,
                )
        except BaseException:  # also when the start is cancelled: whatever was born then reads the end
            os.close(lifeline)
            raise
        finally:
            os.close(reading)
        ready = asyncio.Event()
        return _Life(process, lifeline, ready, asyncio.create_task(_read_output(process, ready)))

    async def _bury(self) -> None:
        """Wait for the end of the present life and collect what it leaves behind."""
        if self._life is None:
            return
        life, self._life = self._life, None
        os.close(life.lifeline)
        await life.process.wait()
        await life.output

    def _signal(self, number: signal.Signals) -> None:
        if self._life is not None and self._life.process.returncode is None:
            os.killpg(self._life.process.pid, number)


async def _read_output(process: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
    while process.stdout is not None and (line := await process.stdout.readline()):
        if line.startswith(READY):
            ready.set()


async def _first(*waits: Coroutine[Any, Any, Any], seconds: float) -> bool:
    """Wait until one of `waits` is over, at most so long; return whether it was the first one of them."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
