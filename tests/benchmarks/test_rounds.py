"""Rounds: who is measured when, and what is made of it."""

from collections.abc import Callable

from benchmarks.rounds import Contestant, Role, Sample, run


def recorded(name: str, log: list[tuple[str, float]], *counts: int) -> Contestant:
    left = list(counts)

    def measure(seconds: float) -> Sample:
        log.append((name, seconds))
        return Sample(count=left.pop(0), seconds=1.0, cpu_seconds=0.5, errors=1, p99_ms=float(len(left)))

    return Contestant(name=name, role=Role.OURS, measure=measure)


def test_rounds_are_interleaved_and_every_second_one_goes_backwards() -> None:
    log: list[tuple[str, float]] = []

    run([recorded("a", log, 1, 2), recorded("b", log, 3, 4)], seconds=8.0, rounds=2)

    assert log == [("a", 2.0), ("b", 2.0), ("b", 2.0), ("a", 2.0)]


def test_the_median_counts_and_every_error() -> None:
    [result] = run([recorded("a", [], 10, 1000, 20)], seconds=1.0, rounds=3)

    assert (result.rate, result.cpu_us, result.errors, result.p99_ms) == (20.0, 25_000.0, 3, 1.0)


def test_who_could_not_be_had_is_in_the_results_with_the_reason() -> None:
    missing = Contestant(name="peer", role=Role.PEER, failure="no network")

    results = run([recorded("a", [], 1), missing], seconds=1.0, rounds=1)

    assert [(each.name, each.failure) for each in results] == [("a", ""), ("peer", "no network")]


def test_a_turn_in_which_nothing_was_done_has_a_rate_of_zero() -> None:
    measure: Callable[[float], Sample] = lambda _: Sample(count=0, seconds=1.0, cpu_seconds=0.1)  # noqa: E731

    [result] = run([Contestant(name="a", role=Role.OURS, measure=measure)], seconds=1.0, rounds=1)

    assert (result.rate, result.p99_ms) == (0.0, None)


def test_latencies_and_stages_are_taken_together_over_all_turns() -> None:
    turns = [
        Sample(
            count=2, seconds=1.0, cpu_seconds=0.1, latencies=[0.001, 0.002], stages={"render": [0.1, 0.3]}
        ),
        Sample(count=1, seconds=1.0, cpu_seconds=0.1, latencies=[0.009], stages={"render": [0.2]}),
    ]

    contestant = Contestant(name="a", role=Role.OURS, measure=lambda _: turns.pop(0))
    [result] = run([contestant], seconds=2.0, rounds=2)

    assert (result.p50_ms, result.p99_ms) == (2.0, 9.0)
    assert result.stages == {"render": (200.0, 300.0)}
