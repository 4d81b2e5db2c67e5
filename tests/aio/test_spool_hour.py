"""An hour without a dashboard, by the clock of a test: what the spool holds at its end, and what it lost."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

from meshcore import framing
from meshcore.aio.health import TransitionEvent
from meshcore.aio.spool_file import SpoolFile
from meshcore.aio.telemetry_feed import TelemetryFeed
from meshcore.breaker import BreakerState, Evidence
from meshcore.drain_steps import Step, StepName
from meshcore.frames import DrainStepItem, HistogramItem, Item, TraceItem, TransitionItem
from meshcore.testing import ManualClock
from meshcore.trace import RoutingTrace

SPOOL_BYTES = 1 << 20  # the least that a node may be given
CALLS_PER_SECOND = 2
HOUR_SECONDS = 3600
STEP_SECONDS = 10
FAILED_EVERY = 20  # calls


def hour_of_calls(feed: TelemetryFeed, clock: ManualClock, second: int) -> None:
    """Report ten seconds: calls to three providers, a breaker that flaps, a drain at times."""
    began = clock.utcnow()
    for n in range(STEP_SECONDS * CALLS_PER_SECOND):
        number = second * CALLS_PER_SECOND + n
        at = began + timedelta(seconds=n / CALLS_PER_SECOND)
        outcome = "error" if number % FAILED_EVERY == 0 else "ok"
        feed.on_trace(
            RoutingTrace(
                trace_id=f"call-{number:028}",
                capability="llm.chat",
                started_at=at,
                duration_ms=100.0 + number % 7,
                provider=("alpha", "beta", "gamma")[number % 3],
                outcome=outcome,
            )
        )
    for before, after in ((BreakerState.CLOSED, BreakerState.OPEN), (BreakerState.OPEN, BreakerState.CLOSED)):
        feed.on_transition(
            TransitionEvent(
                key="alpha",
                from_state=before,
                to_state=after,
                reason="HTTP 503",
                evidence=Evidence.TRAFFIC,
                actor="",
                at=began,
            )
        )
    if second % 600 == 0:
        feed.on_step(Step(step=StepName.DRAINED, generation=second + 1, in_flight=0, edge=0))


async def test_an_hour_without_a_dashboard_costs_boring_traces_alone_and_each_is_counted(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    steps = range(0, HOUR_SECONDS, STEP_SECONDS)
    spool = SpoolFile.open(tmp_path, SPOOL_BYTES, utcnow=clock.utcnow)
    feed = TelemetryFeed(spool, utcnow=clock.utcnow)
    for second in steps:
        hour_of_calls(feed, clock, second)
        clock.advance(STEP_SECONDS)
        feed.flush()
        await spool.flush()
    on_disk = sum(path.stat().st_size for path in (tmp_path / "spool").iterdir())

    items: list[Item] = []
    dropped: Counter[str] = Counter()
    after = 0
    while frame := await spool.next_batch(after):
        items += map(framing.decode_item, frame.items)
        dropped.update(frame.dropped)
        after = frame.to
    said = spool.report().dropped
    await spool.close()

    calls = HOUR_SECONDS * CALLS_PER_SECOND
    traces = [item.trace for item in items if isinstance(item, TraceItem)]
    assert dropped.keys() == {"trace"}
    assert dropped == said
    assert len(traces) + dropped["trace"] == calls
    assert sum(trace.outcome == "error" for trace in traces) == calls // FAILED_EVERY
    histograms = [item for item in items if isinstance(item, HistogramItem)]
    assert sum(sum(each.counts.values()) for each in histograms) == calls
    assert sum(item.count for item in items if isinstance(item, TransitionItem)) == 2 * len(steps)
    assert sum(isinstance(item, DrainStepItem) for item in items) == HOUR_SECONDS // 600
    assert on_disk < 1.25 * SPOOL_BYTES
