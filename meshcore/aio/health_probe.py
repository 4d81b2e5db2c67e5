"""Asks providers regularly whether they live, and tells their breakers (bus-and-breaker §2)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from random import random
from typing import Protocol

JITTER = 0.10  # of the interval, so that the nodes of a mesh don't probe in step

Probe = Callable[[], Awaitable[bool]]

logger = logging.getLogger(__name__)


class ProbeListener(Protocol):
    """Who takes the word of a probe."""

    def probe_succeeded(self, key: str) -> None:
        """The probe of `key` was answered well."""

    def probe_failed(self, key: str, reason: str, *, interval_seconds: float) -> None:
        """The probe of `key` failed; `reason` says how."""


class HealthProbe:
    """Runs `probes` (provider name -> async function that returns whether it lives), all at once each tick.

    The first tick is immediate, the next come `interval` seconds ± 10 % later. A probe that takes longer than
    `timeout` seconds, returns False or raises has failed, and harms no other.
    """

    def __init__(
        self,
        cache: ProbeListener,
        probes: Mapping[str, Probe],
        interval: float = 30.0,
        timeout: float = 3.0,
        *,
        random: Callable[[], float] = random,
    ) -> None:
        if not interval > 0:
            raise ValueError(f"interval={interval!r}: expected a number of seconds above 0")
        if not timeout > 0:
            raise ValueError(f"timeout={timeout!r}: expected a number of seconds above 0")
        self._cache = cache
        self._probes = dict(probes)
        self._interval = interval
        self._timeout = timeout
        self._random = random
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._task is not None

    @property
    def provider_ids(self) -> list[str]:
        """The names that are probed."""
        return list(self._probes)

    def start(self) -> asyncio.Future[None]:
        """Begin to probe, once; the result is done already and may be awaited, like `stop`."""
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._run(), name="health-probe")
        started: asyncio.Future[None] = loop.create_future()
        started.set_result(None)
        return started

    async def stop(self) -> None:
        """End probing; fine before start and a second time."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def tick_once(self) -> None:
        """Probe every provider once, all in parallel."""
        async with asyncio.TaskGroup() as group:
            for name, probe in self._probes.items():
                group.create_task(self._probe(name, probe))

    async def _run(self) -> None:
        while True:
            await self.tick_once()
            await asyncio.sleep(self._interval * (1 + JITTER * (2 * self._random() - 1)))

    async def _probe(self, name: str, probe: Probe) -> None:
        reason = await self._outcome(probe)
        if reason is None:
            self._cache.probe_succeeded(name)
        else:
            self._cache.probe_failed(name, reason, interval_seconds=self._interval)

    async def _outcome(self, probe: Probe) -> str | None:
        """Return what is wrong, or None; a provider's bug is a failed probe like any other."""
        try:
            async with asyncio.timeout(self._timeout):
                alive = await probe()
        except TimeoutError:
            return f"probe timeout after {self._timeout:g} s"
        except Exception as exc:
            logger.debug("a probe raised", exc_info=True)
            return f"probe raised {type(exc).__name__}: {exc}"
        return None if alive else "probe returned false"
