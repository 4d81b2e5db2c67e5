"""What of a node goes into its spool: calls, latencies, changes of breakers, steps of drains."""

import asyncio
from typing import Any, Protocol

from meshcore.aio.health import TransitionEvent
from meshcore.clock import UtcNow
from meshcore.drain_steps import Step
from meshcore.frames import DrainStepItem, Item, RunEndItem, TransitionItem
from meshcore.run_reports import facts, usage_of
from meshcore.runs import RunState
from meshcore.telemetry import Collector
from meshcore.trace import RoutingTrace

TICK_SECONDS = 1.0  # a histogram of 10 s leaves at most so long after its end


class Sink(Protocol):
    """What takes items in, as a spool does."""

    def append(self, kind: str, item: Item | dict[str, Any]) -> int:
        """Take an item in and return its number; never waits."""


class TelemetryFeed:
    """Appends items to the spool; nothing here waits, so calls may report from their own path."""

    def __init__(self, spool: Sink, *, utcnow: UtcNow) -> None:
        self._spool = spool
        self._utcnow = utcnow
        self._collector = Collector()

    def on_trace(self, trace: RoutingTrace) -> None:
        """Take a finished call."""
        self._append(*self._collector.on_trace(trace))

    def on_transition(self, event: TransitionEvent) -> None:
        """Take a change of a breaker."""
        self._append(
            TransitionItem(
                seq=0,
                at=event.at,
                key=event.key,
                from_state=event.from_state,
                to_state=event.to_state,
                reason=event.reason,
                evidence=event.evidence,
                actor=event.actor,
            )
        )

    def on_step(self, step: Step) -> None:
        """Take a step of a drain."""
        self._append(
            DrainStepItem(
                seq=0,
                at=self._utcnow(),
                generation=step.generation,
                step=step.step,
                in_flight=step.in_flight,
                edge=step.edge,
                detail=step.detail,
            )
        )

    def on_run_end(self, run_id: str, state: RunState) -> None:
        """Take the end of a run."""
        self._append(RunEndItem(seq=0, at=self._utcnow(), usage=usage_of(state), **facts(run_id, state)))

    async def run(self) -> None:
        """Hand out finished histograms until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._append(*self._collector.tick(self._utcnow()))

    def flush(self) -> None:
        """Hand out unfinished histograms too: the process ends."""
        self._append(*self._collector.flush())

    def _append(self, *items: Item) -> None:
        for item in items:
            self._spool.append(str(item.__struct_config__.tag), item)
