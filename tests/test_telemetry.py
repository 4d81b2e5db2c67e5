"""From calls to telemetry."""

from datetime import UTC, datetime, timedelta

from meshcore import histogram, telemetry
from meshcore.frames import HistogramItem, TraceItem
from meshcore.telemetry import Collector
from meshcore.trace import Attempt, RoutingTrace

AT = datetime(2026, 1, 1, 12, 0, 3, tzinfo=UTC)


def call(
    *,
    at: datetime = AT,
    ms: float = 100.0,
    provider: str = "alpha",
    outcome: str = "ok",
    attempts: int = 1,
    inbound: bool = False,
) -> RoutingTrace:
    return RoutingTrace(
        trace_id="t1",
        capability="llm.chat",
        started_at=at,
        duration_ms=ms,
        provider=provider,
        outcome=outcome,
        inbound=inbound,
        attempts=tuple(Attempt(n=n, node="node-a", provider=provider) for n in range(1, attempts + 1)),
    )


def test_a_call_is_an_item_at_once_stamped_with_its_end() -> None:
    trace = call(ms=2000)

    items = Collector().on_trace(trace)

    assert items == [TraceItem(seq=0, at=AT + timedelta(seconds=2), trace=trace)]


def test_the_callees_side_is_no_call_of_its_own() -> None:
    collector = Collector()

    assert collector.on_trace(call(inbound=True)) == []
    assert collector.flush() == []


def test_ten_seconds_make_one_histogram_per_provider_capability_and_outcome() -> None:
    collector = Collector()
    for trace in (call(), call(ms=500, attempts=3), call(provider="beta"), call(outcome="error")):
        collector.on_trace(trace)

    early = collector.tick(AT + timedelta(seconds=6))
    items = collector.tick(AT + timedelta(seconds=7))

    assert early == []
    assert [(i.provider, i.outcome, i.failovers) for i in items] == [
        ("alpha", "error", 0),
        ("alpha", "ok", 2),
        ("beta", "ok", 0),
    ]
    assert {i.at for i in items} == {datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)}
    assert items[1].counts == {str(histogram.bucket_of(100)): 1, str(histogram.bucket_of(500)): 1}
    assert collector.tick(AT + timedelta(hours=1)) == []


def test_a_call_that_ends_later_counts_where_it_ended() -> None:
    collector = Collector()

    collector.on_trace(call(ms=20_000))

    assert collector.tick(AT + timedelta(seconds=10)) == []
    assert [item.at.second for item in collector.tick(AT + timedelta(seconds=30))] == [20]


def test_a_late_call_makes_another_histogram_that_adds_up() -> None:
    collector = Collector()
    collector.on_trace(call())
    first = collector.tick(AT + timedelta(seconds=10))

    collector.on_trace(call())
    second = collector.tick(AT + timedelta(seconds=10))

    assert first == second
    assert len(first) == 1


def test_the_end_of_the_process_hands_out_what_is_under_way() -> None:
    collector = Collector()
    collector.on_trace(call())

    assert len(collector.flush()) == 1
    assert collector.flush() == []


def test_too_many_histograms_are_handed_out_early_and_none_is_lost() -> None:
    collector = Collector()

    items = [
        item
        for n in range(telemetry.OPEN_MAX + 1)
        for item in collector.on_trace(call(provider=f"p{n}"))
        if isinstance(item, HistogramItem)
    ]

    assert len(items) == telemetry.OPEN_MAX + 1
    assert collector.flush() == []
