"""The ring of the last traces is bounded and drops its oldest."""

from meshcore.testing import START
from meshcore.trace import RoutingTrace, TraceRing


def trace(number: int) -> RoutingTrace:
    return RoutingTrace(trace_id=str(number), capability="llm.chat", started_at=START)


def test_case_38_a_full_ring_drops_its_oldest() -> None:
    ring = TraceRing(size=100)

    for number in range(10_000):
        ring.push(trace(number))

    assert len(ring) == 100
    assert [kept.trace_id for kept in ring.last(2)] == ["9998", "9999"]


def test_asking_for_nothing_gives_nothing() -> None:
    ring = TraceRing(size=3)
    ring.push(trace(1))

    assert ring.last(0) == []
