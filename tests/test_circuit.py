"""The circuit below a breaker, driven by hand with explicit moments."""

from meshcore.breaker_terms import BreakerPolicy, BreakerState
from meshcore.circuit import Circuit

POLICY = BreakerPolicy(failure_threshold=2, backoff_seconds=60.0)


def tripped_at(now: float) -> Circuit:
    circuit = Circuit(POLICY)
    circuit.fail(now, "one")
    circuit.fail(now, "two")
    return circuit


def test_the_first_failure_makes_suspect_and_the_second_opens() -> None:
    circuit = Circuit(POLICY)

    circuit.fail(100.0, "one")
    after_one = circuit.state_at(100.0)
    circuit.fail(100.0, "two")

    assert after_one is BreakerState.SUSPECT
    assert circuit.state_at(100.0) is BreakerState.OPEN


def test_at_the_end_of_the_window_it_is_half_open() -> None:
    circuit = tripped_at(100.0)

    assert circuit.state_at(159.999) is BreakerState.OPEN
    assert circuit.state_at(160.0) is BreakerState.HALF_OPEN


def test_a_failure_while_open_starts_the_window_again_without_a_new_generation() -> None:
    circuit = tripped_at(100.0)
    generation = circuit.generation

    circuit.fail(120.0, "still")

    assert circuit.open_until == 180.0
    assert circuit.generation == generation


def test_a_failure_in_half_open_trips_with_a_new_generation() -> None:
    circuit = tripped_at(100.0)
    generation = circuit.generation

    circuit.fail(161.0, "again")

    assert circuit.open_until == 221.0
    assert circuit.generation == generation + 1


def test_failed_probes_alone_open_at_the_threshold() -> None:
    circuit = Circuit(POLICY)

    circuit.probe_failed(100.0, "no", 30.0)
    circuit.probe_failed(130.0, "no", 30.0)

    assert circuit.state_at(130.0) is BreakerState.OPEN


def test_probes_are_not_believed_while_calls_succeed() -> None:
    circuit = Circuit(POLICY)
    circuit.succeed(100.0)

    circuit.probe_failed(130.0, "no", 30.0)
    circuit.probe_failed(160.0, "no", 30.0)
    at_the_edge = circuit.state_at(160.0)
    circuit.probe_failed(161.0, "no", 30.0)

    assert at_the_edge is BreakerState.SUSPECT
    assert circuit.state_at(161.0) is BreakerState.OPEN


def test_a_probe_success_never_clears_failures_of_traffic() -> None:
    circuit = Circuit(POLICY)

    circuit.fail(100.0, "500")
    circuit.probe_succeeded(115.0)
    circuit.fail(130.0, "500")

    assert circuit.state_at(130.0) is BreakerState.OPEN


def test_a_failed_probe_while_open_only_changes_the_last_error() -> None:
    circuit = tripped_at(100.0)

    circuit.probe_failed(130.0, "probe says no", 30.0)

    assert circuit.open_until == 160.0
    assert circuit.last_error == "probe says no"


def test_a_traffic_success_clears_both_counters() -> None:
    circuit = Circuit(POLICY)
    circuit.fail(100.0, "500")
    circuit.probe_failed(101.0, "no", 30.0)

    circuit.succeed(102.0)

    assert not circuit.is_suspect()
    assert circuit.last_error is None


def test_nothing_is_due_without_a_trial() -> None:
    assert tripped_at(100.0).expire_trial(1e9) is None
