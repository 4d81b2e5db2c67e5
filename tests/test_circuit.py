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


def test_everything_that_is_heard_is_a_check() -> None:
    circuit = Circuit(POLICY)
    heard = []

    circuit.succeed(1.0)
    heard.append(circuit.last_check)
    circuit.fail(2.0, "500")
    heard.append(circuit.last_check)
    circuit.probe_succeeded(3.0)
    heard.append(circuit.last_check)
    circuit.probe_failed(4.0, "no", 30.0)
    heard.append(circuit.last_check)

    assert heard == [1.0, 2.0, 3.0, 4.0]


def test_only_probes_that_fail_in_a_row_open() -> None:
    circuit = Circuit(POLICY)

    circuit.probe_failed(100.0, "no", 30.0)
    circuit.probe_succeeded(130.0)
    circuit.probe_failed(160.0, "no", 30.0)

    assert circuit.state_at(160.0) is BreakerState.SUSPECT


def test_healing_says_whether_there_was_anything_to_forget() -> None:
    circuit = Circuit(POLICY)
    healed = [circuit.heal(1.0)]

    circuit.probe_failed(2.0, "no", 30.0)
    healed.append(circuit.heal(3.0))
    circuit.fail(4.0, "500")
    healed.append(circuit.heal(5.0))
    healed.append(circuit.heal(6.0))

    assert healed == [False, True, True, False]


def test_a_failure_at_the_very_end_of_the_window_is_a_failed_trial() -> None:
    circuit = tripped_at(100.0)
    generation = circuit.generation

    circuit.fail(160.0, "again")

    assert circuit.generation == generation + 1
