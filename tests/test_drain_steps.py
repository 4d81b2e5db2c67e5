"""Steps of a drain, seen from one readout to the next."""

from datetime import timedelta

from meshcore.drain import DrainInfo, DrainSource, InFlight, NodeState, Readout, WorkKind, WorkLedger
from meshcore.drain_steps import StepName, forced, steps_between
from meshcore.testing import START, ManualClock

RUNNING = Readout(state=NodeState.RUNNING, accepting=True, observed_generation=1)


def draining(
    *, total: int, edge: int = 0, generation: int = 2, since_seconds: float = 0, exceeded: bool = False
) -> Readout:
    return Readout(
        state=NodeState.DRAINED if total == 0 else NodeState.DRAINING,
        accepting=False,
        drain=DrainInfo(
            source=DrainSource.DESIRED if generation else DrainSource.LOCAL,
            generation=generation,
            since=START + timedelta(seconds=since_seconds),
            reason="update",
            deadline_exceeded=exceeded,
        ),
        in_flight=InFlight(total=total),
        edge=edge,
        safe_to_stop=total == 0 and edge == 0,
        observed_generation=generation or 1,
    )


def names(before: Readout, after: Readout) -> list[str]:
    return [step.step.value for step in steps_between(before, after)]


def test_a_drain_with_work_is_acknowledged_and_closes_the_gate() -> None:
    steps = steps_between(RUNNING, draining(total=2, edge=1))

    assert [step.step for step in steps] == [StepName.ACKNOWLEDGED, StepName.GATE_CLOSED]
    assert {(step.generation, step.in_flight, step.edge) for step in steps} == {(2, 2, 1)}
    assert [step.detail for step in steps] == ["", "update"]


def test_each_fall_of_the_work_is_a_step_and_zero_is_drained() -> None:
    assert names(draining(total=2), draining(total=1)) == ["in_flight"]
    assert names(draining(total=1), draining(total=0)) == ["in_flight", "drained", "safe_to_stop"]


def test_drained_with_calls_at_the_edge_is_not_yet_safe_to_stop() -> None:
    assert names(draining(total=1), draining(total=0, edge=1)) == ["in_flight", "drained"]
    assert names(draining(total=0, edge=1), draining(total=0)) == ["safe_to_stop"]


def test_an_idle_node_is_drained_at_once() -> None:
    assert names(RUNNING, draining(total=0)) == ["acknowledged", "gate_closed", "drained", "safe_to_stop"]


def test_nothing_new_is_no_step() -> None:
    assert names(draining(total=1), draining(total=1)) == []
    assert names(RUNNING, RUNNING) == []


def test_a_changed_order_for_the_same_drain_is_only_acknowledged() -> None:
    assert names(draining(total=1), draining(total=1, generation=3)) == ["acknowledged"]


def test_another_drain_tells_its_whole_story() -> None:
    after = draining(total=0, generation=3, since_seconds=9)

    assert names(draining(total=0), after) == ["acknowledged", "gate_closed", "drained", "safe_to_stop"]


def test_a_deadline_is_told_once() -> None:
    assert names(draining(total=1), draining(total=1, exceeded=True)) == ["deadline_exceeded"]
    assert names(draining(total=1, exceeded=True), draining(total=1, exceeded=True)) == []
    assert names(RUNNING, draining(total=1, exceeded=True)) == [
        "acknowledged",
        "gate_closed",
        "deadline_exceeded",
    ]


def test_the_end_of_a_desired_drain_carries_the_generation_that_ended_it() -> None:
    after = Readout(state=NodeState.RUNNING, accepting=True, observed_generation=3)

    steps = steps_between(draining(total=1), after)

    assert [(step.step, step.generation) for step in steps] == [
        (StepName.ACKNOWLEDGED, 3),
        (StepName.GATE_OPENED, 3),
    ]


def test_a_local_drain_has_generation_zero_from_begin_to_end() -> None:
    begin = steps_between(RUNNING, draining(total=1, generation=0))
    end = steps_between(draining(total=1, generation=0), RUNNING)

    assert [(step.step, step.generation) for step in begin + end] == [
        (StepName.GATE_CLOSED, 0),
        (StepName.GATE_OPENED, 0),
    ]


def test_a_drain_that_ends_in_a_shutdown_opens_no_gate() -> None:
    stopping = Readout(state=NodeState.STOPPING, accepting=False, observed_generation=2)

    assert names(draining(total=1), stopping) == []


def test_work_that_a_drain_ended_is_a_step_that_names_it() -> None:
    clock = ManualClock()
    ledger = WorkLedger(clock=clock, utcnow=clock.utcnow)
    stream, call = ledger.admit(WorkKind.STREAM, "t1"), ledger.edge("t2")
    stream.provider = "ollama"

    steps = [forced(stream, draining(total=3, edge=1)), forced(call, draining(total=3))]

    assert [step.detail for step in steps] == ["stream t1 on ollama: drain_forced", "call t2: drain_forced"]
    assert [(step.step, step.generation, step.in_flight, step.edge) for step in steps] == [
        (StepName.FORCED, 2, 3, 1),
        (StepName.FORCED, 2, 3, 0),
    ]


def test_a_run_that_goes_on_elsewhere_is_a_step_of_its_own() -> None:
    clock = ManualClock()
    run = WorkLedger(clock=clock, utcnow=clock.utcnow).admit(WorkKind.RUN, "run_1")
    run.moved = True

    step = forced(run, draining(total=3))

    assert (step.step, step.detail, step.in_flight) == (StepName.MOVED, "run_1", 3)


def test_work_whose_end_outlived_its_drain_belongs_to_the_last_order() -> None:
    clock = ManualClock()
    work = WorkLedger(clock=clock, utcnow=clock.utcnow).admit(WorkKind.CALL, "t1")

    assert forced(work, RUNNING).generation == 1
