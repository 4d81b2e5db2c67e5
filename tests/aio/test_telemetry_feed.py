"""What happens in a node, as items of a real spool."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshcore.aio import telemetry_feed
from meshcore.aio.health import TransitionEvent
from meshcore.aio.spool_file import SpoolFile
from meshcore.aio.telemetry_feed import TelemetryFeed
from meshcore.aio.testing import wait_until
from meshcore.breaker import BreakerState, Evidence
from meshcore.drain_steps import Step, StepName
from meshcore.run_events import Created, End, RunStatus
from meshcore.runs import fold
from meshcore.testing import START, ManualClock
from meshcore.trace import RoutingTrace

TRACE = RoutingTrace(
    trace_id="t1", capability="llm.chat", started_at=START, duration_ms=41.0, provider="alpha"
)


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[SpoolFile]:
    async with SpoolFile.open(tmp_path) as opened:
        yield opened


async def items(spool: SpoolFile) -> list[dict[str, Any]]:
    """Return everything that waits in the spool."""
    await spool.flush()
    frame = await spool.next_batch(0)
    return [msgspec.json.decode(item) for item in frame.items] if frame else []


async def test_a_call_is_a_trace_at_once_and_a_latency_later(spool: SpoolFile) -> None:
    feed = TelemetryFeed(spool, utcnow=ManualClock().utcnow)

    feed.on_trace(TRACE)
    at_once = await items(spool)
    feed.flush()

    assert [(item["kind"], item["trace"]["trace_id"]) for item in at_once] == [("trace", "t1")]
    assert [item["kind"] for item in await items(spool)] == ["trace", "histogram"]


async def test_the_latencies_of_ten_seconds_leave_when_they_are_over(
    spool: SpoolFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_feed, "TICK_SECONDS", 0.005)
    clock = ManualClock()
    feed = TelemetryFeed(spool, utcnow=clock.utcnow)
    feed.on_trace(TRACE)
    running = asyncio.create_task(feed.run())

    clock.advance(20)
    await wait_until(lambda: spool.last_seq == 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert [item["kind"] for item in await items(spool)] == ["trace", "histogram"]


async def test_a_change_of_a_breaker_keeps_its_evidence(spool: SpoolFile) -> None:
    event = TransitionEvent(
        key="alpha",
        from_state=BreakerState.SUSPECT,
        to_state=BreakerState.OPEN,
        reason="HTTP 503",
        evidence=Evidence.TRAFFIC,
        actor="",
        at=START,
    )

    TelemetryFeed(spool, utcnow=ManualClock().utcnow).on_transition(event)

    (item,) = await items(spool)
    assert (item["kind"], item["key"], item["from_state"], item["to_state"]) == (
        *("transition", "alpha", "suspect", "open"),
    )
    assert (item["reason"], item["evidence"]) == ("HTTP 503", "traffic")


async def test_a_step_of_a_drain_has_its_time_and_counts(spool: SpoolFile) -> None:
    step = Step(step=StepName.IN_FLIGHT, generation=5, in_flight=3, edge=1)

    TelemetryFeed(spool, utcnow=ManualClock().utcnow).on_step(step)

    (item,) = await items(spool)
    assert (item["kind"], item["step"], item["generation"]) == ("drain_step", "in_flight", 5)
    assert (item["in_flight"], item["edge"], item["at"]) == (3, 1, "2026-01-01T00:00:00Z")


async def test_the_end_of_a_run_has_what_its_log_says(spool: SpoolFile) -> None:
    created = Created(capability="llm.chat", request=msgspec.Raw(b"{}"), log_id="abcdef", key="ci", at=START)
    state = fold([created, End(status=RunStatus.FAILED, reason="owner_lost", final_seq=2)])

    TelemetryFeed(spool, utcnow=ManualClock().utcnow).on_run_end("run_1", state)

    (item,) = await items(spool)
    assert (item["kind"], item["run_id"], item["status"]) == ("run_end", "run_1", "failed")
    assert (item["reason"], item["last_seq"], item["caller"]) == ("owner_lost", 2, "ci")
