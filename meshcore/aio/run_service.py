"""The runner of a node, for as long as the node lives: its log is opened, for ever if need be.

Until that has worked the node isn't ready: it can neither make runs nor show any.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

from meshcore.aio.run_desk import log_unreachable
from meshcore.aio.runlog import EngineGone, RunLog
from meshcore.aio.runner import Runner
from meshcore.backoff import Backoff
from meshcore.errors import CallError, Code, FrameError
from meshcore.run_reports import RunReport

CANCEL_RUN = "cancel_run"  # the type of an event
OPEN_SECONDS = 10.0  # for one try
_BACKOFF = Backoff(base_seconds=0.5, cap_seconds=5.0)

logger = logging.getLogger(__name__)


class RunService:
    """Opens the log by `open_log`, lets the runner of `make` live in it; `on_open` hears of the log's id."""

    def __init__(
        self,
        open_log: Callable[[], Awaitable[RunLog]],
        make: Callable[[RunLog], Runner],
        *,
        on_open: Callable[[str], None] = lambda log_id: None,
        random: Callable[[], float],
    ) -> None:
        self._open_log = open_log
        self._make = make
        self._on_open = on_open
        self._random = random
        self._log: RunLog | None = None
        self._runner: Runner | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the log works and this node lives in it."""
        return self._runner is not None and self._runner.is_ready

    @property
    def log_id(self) -> str:
        """The log's id, "" until it is open."""
        return self._log.log_id if self._log is not None else ""

    @property
    def runner(self) -> Runner:
        """The runner. Raises CallError(log_unreachable) until the log is open."""
        if self._runner is None:
            raise log_unreachable(self.log_id)
        return self._runner

    def reports(self) -> Iterator[RunReport]:
        """Yield what the dashboard is told of the runs of this node now; nothing until the log is open."""
        return self._runner.reports() if self._runner is not None else iter(())

    async def start(self) -> bool:
        """Try once to open the log and to live in it; return whether that worked. Raises IdentityTaken."""
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                self._log = self._log or await self._open_log()
                runner = self._make(self._log)
                await runner.take_place()
        except (EngineGone, TimeoutError) as exc:
            logger.error("the run log can't be used, so this node isn't ready: %s", exc or "no answer")
            return False
        self._runner = runner
        self._on_open(self._log.log_id)
        return True

    async def run(self) -> None:
        """Live until cancelled."""
        attempt = 0
        while self._runner is None:
            await asyncio.sleep(_BACKOFF.delay_seconds(attempt, random=self._random))
            attempt += 1
            await self.start()
        await self._runner.run()

    async def obey(self, event: dict[str, Any]) -> None:
        """Do what the dashboard ordered; returns when that is in the log, so that it may be acknowledged.

        A run that isn't there any more has ended. Raises CallError when the log can't be reached, and
        FrameError for an order that this version doesn't know: it comes again then.
        """
        if event.get("type") != CANCEL_RUN:
            raise FrameError(f"type={event.get('type')!r:.60}: expected {CANCEL_RUN}")
        try:
            await self.runner.desk.cancel(str(event.get("run_id")), str(event.get("by") or "dashboard"))
        except CallError as exc:
            if exc.code != Code.NOT_FOUND:
                raise
            logger.info("%s", exc.message)

    async def stop(self) -> None:
        """Let all runs go."""
        if self._runner is not None:
            await self._runner.stop()

    async def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            with suppress(EngineGone):
                await self._log.close()
