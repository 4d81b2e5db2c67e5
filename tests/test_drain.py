"""The drain machine and the ledger: named stories, then any order of events."""

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meshcore.drain import (
    DrainInfo,
    DrainMachine,
    DrainPolicy,
    DrainSource,
    NodeState,
    Work,
    WorkKind,
    WorkLedger,
)
from meshcore.testing import START, ManualClock

LOCAL = DrainInfo(source=DrainSource.LOCAL, by="nas")
DESIRED = DrainInfo(source=DrainSource.DESIRED, generation=7, since=START, by="alice")


def forced(seconds: float, *, since: float = 0.0) -> DrainInfo:
    """Return a drain that began `since` seconds after the start and forces what is left after `seconds`."""
    return DrainInfo(
        source=DrainSource.DESIRED,
        generation=8,
        since=START + timedelta(seconds=since),
        deadline_at=START + timedelta(seconds=seconds),
        force=True,
    )


FORCED = forced(50.0)


class House:
    """A machine with its ledger under one manual clock."""

    def __init__(self, policy: DrainPolicy | None = None) -> None:
        self.clock = ManualClock()
        self.ledger = WorkLedger(clock=self.clock, utcnow=self.clock.utcnow)
        self.machine = DrainMachine(
            self.ledger, policy=policy or DrainPolicy(), clock=self.clock, utcnow=self.clock.utcnow
        )


def test_a_node_without_a_dashboard_runs_at_once() -> None:
    house = House()

    assert house.machine.state() is NodeState.RUNNING
    assert house.machine.accepts()
    assert house.machine.next_deadline() is None
    assert house.machine.status_to_write() is None


def test_the_gate_stays_closed_until_the_dashboard_answers() -> None:
    house = House(DrainPolicy(join_wait_seconds=3))

    before = house.machine.readout()
    house.machine.joined()

    assert (before.state, before.accepting, before.safe_to_stop) == (NodeState.JOINING, False, False)
    assert house.machine.accepts()
    assert house.machine.status_to_write() is NodeState.RUNNING


def test_the_wait_for_the_dashboard_ends_by_time_alone() -> None:
    house = House(DrainPolicy(join_wait_seconds=3))
    deadline = house.machine.next_deadline()

    house.clock.advance(2.9)
    waiting = house.machine.state()
    house.clock.advance(0.1)

    assert deadline == house.clock()
    assert (waiting, house.machine.state()) == (NodeState.JOINING, NodeState.RUNNING)


def test_a_stored_drain_needs_no_wait() -> None:
    house = House(DrainPolicy(join_wait_seconds=3))

    house.machine.ask([DESIRED])

    assert house.machine.state() is NodeState.DRAINING
    assert house.machine.readout().safe_to_stop


def test_a_drain_closes_the_gate_and_touches_no_work() -> None:
    house = House()
    work = house.ledger.admit(WorkKind.STREAM, "s1")

    house.machine.ask([LOCAL])
    readout = house.machine.readout(observed_generation=4)

    assert not house.machine.accepts()
    assert house.machine.accepts(internal=True)
    assert readout.state is NodeState.DRAINING
    assert readout.drain == LOCAL
    assert (readout.in_flight.streams, readout.in_flight.total, readout.in_flight.at_start) == (1, 1, 1)
    assert readout.observed_generation == 4
    work.close()
    assert house.machine.readout().state is NodeState.DRAINED
    assert house.machine.readout().in_flight.at_start == 1


def test_safe_to_stop_waits_for_the_edge_too() -> None:
    house = House()
    house.machine.ask([LOCAL])
    passed_on = house.ledger.edge("c1")

    before = house.machine.readout()
    passed_on.close()

    assert (before.state, before.edge, before.safe_to_stop) == (NodeState.DRAINED, 1, False)
    assert house.machine.readout().safe_to_stop


def test_enter_and_exit_are_one_status_write_each() -> None:
    machine = House().machine

    writes = []
    for asks in ([LOCAL], [LOCAL, DESIRED], [], []):
        machine.ask(asks)
        writes.append(machine.status_to_write())

    assert writes == [NodeState.DRAINING, None, NodeState.RUNNING, None]


def test_a_shutdown_wins_over_the_end_of_a_drain() -> None:
    machine = House().machine
    machine.ask([LOCAL])
    machine.status_to_write()
    machine.begin_shutdown()
    assert machine.status_to_write() is NodeState.STOPPING

    machine.ask([])

    assert not machine.draining
    assert machine.status_to_write() is None
    assert not machine.accepts()


def test_a_stopped_node_refuses_internal_work_too() -> None:
    machine = House().machine

    machine.mark_stopped()

    assert machine.state() is NodeState.STOPPED
    assert not machine.accepts(internal=True)


def test_the_edge_closes_after_its_grace() -> None:
    house = House(DrainPolicy(edge_grace_seconds=30))
    assert not house.machine.edge_open()

    house.machine.ask([LOCAL])
    house.clock.advance(29)
    within = house.machine.edge_open()
    house.clock.advance(1)

    assert within
    assert not house.machine.edge_open()


def test_a_new_drain_has_a_new_grace_and_a_new_start() -> None:
    house = House()
    house.machine.ask([LOCAL])
    house.clock.advance(100)
    house.machine.ask([])
    house.ledger.admit(WorkKind.CALL, "c1")

    house.machine.ask([DESIRED])

    assert house.machine.edge_open()
    assert house.machine.readout().in_flight.at_start == 1


def test_who_asks_may_change_without_a_new_grace_or_a_new_start() -> None:
    house = House(DrainPolicy(edge_grace_seconds=30))
    work = house.ledger.admit(WorkKind.CALL, "c1")
    house.machine.ask([LOCAL])
    work.close()
    house.clock.advance(30)

    house.machine.ask([DESIRED, LOCAL])
    passes_on = house.machine.edge_open()
    house.machine.begin_shutdown()

    assert not passes_on
    assert house.machine.readout().in_flight.at_start == 1


def test_a_stopping_node_passes_nothing_on() -> None:
    machine = House().machine
    machine.ask([LOCAL])

    machine.begin_shutdown()

    assert not machine.edge_open()


def test_a_deadline_is_exceeded_while_work_goes_on() -> None:
    house = House()
    work = house.ledger.admit(WorkKind.CALL, "c1")
    house.machine.ask([DrainInfo(source=DrainSource.DESIRED, deadline_at=START + timedelta(seconds=10))])

    told = []
    for _ in range(2):
        told.append(house.machine.readout().drain)
        house.clock.advance(10)
    work.close()

    assert [drain.deadline_exceeded for drain in told if drain] == [False, True]
    assert house.machine.state() is NodeState.DRAINING
    late = house.machine.readout().drain
    assert late is not None
    assert late.deadline_exceeded


def test_a_deadline_that_passes_after_the_last_work_was_met() -> None:
    house = House()
    house.machine.ask([DrainInfo(source=DrainSource.DESIRED, deadline_at=START + timedelta(seconds=10))])

    house.clock.advance(60)

    drain = house.machine.readout().drain
    assert drain is not None
    assert not drain.deadline_exceeded


def test_a_forced_drain_ends_what_is_left_at_its_deadline_and_no_earlier() -> None:
    house = House()
    house.ledger.admit(WorkKind.CALL, "c1")
    house.machine.ask([forced(10.0)])
    wakes_at = house.machine.next_deadline()

    told = []
    for _ in range(2):
        told.append((house.machine.forces(), house.machine.edge_open()))
        house.clock.advance(10)

    assert wakes_at == house.clock() - 10
    assert told == [(False, True), (True, False)]
    assert house.machine.next_deadline() is None
    drain = house.machine.readout().drain
    assert drain is not None
    assert (drain.force, drain.deadline_exceeded) == (True, False)


def test_a_deadline_without_force_and_force_without_a_deadline_end_nothing() -> None:
    house = House()
    for ask in (
        DrainInfo(source=DrainSource.DESIRED, deadline_at=START),
        DrainInfo(source=DrainSource.DESIRED, force=True),
    ):
        house.machine.ask([ask])

        assert not house.machine.forces()
        assert house.machine.next_deadline() is None


def test_now_is_now_even_for_a_node_whose_clock_is_late() -> None:
    house = House()
    at = START + timedelta(minutes=5)  # of the dashboard

    house.machine.ask([DrainInfo(source=DrainSource.DESIRED, since=at, deadline_at=at, force=True)])

    assert house.machine.forces()


def test_a_drain_that_ends_forces_nothing_any_more() -> None:
    house = House()
    house.machine.ask([forced(0.0)])

    house.machine.ask([])

    assert not house.machine.forces()


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_a_policy_refuses_impossible_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="expected seconds from 0"):
        DrainPolicy(join_wait_seconds=seconds)


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: what must always hold."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House(DrainPolicy(join_wait_seconds=3, edge_grace_seconds=30))
        self.works: list[Work] = []
        self.edges: list[Work] = []
        self.closed_total: int | None = None  # work in flight when the gate was last seen closed
        self.shut = False
        self.asks: list[DrainInfo] = []
        self.forced: list[Work] = []
        self.writes: list[NodeState] = []

    @rule(asks=st.lists(st.sampled_from([LOCAL, DESIRED, FORCED]), max_size=2))
    def ask(self, asks: list[DrainInfo]) -> None:
        self.asks = asks
        self.house.machine.ask(asks)

    @rule()
    def force(self) -> None:
        """Do what a shell does with every look."""
        if self.house.machine.forces():
            for work in self.house.ledger.in_order_of_force():
                work.force()

    @rule()
    def join(self) -> None:
        self.house.machine.joined()

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.house.clock.advance(seconds)

    @rule(kind=st.sampled_from(WorkKind))
    def call(self, kind: WorkKind) -> None:
        if self.house.machine.accepts():
            self.works.append(self.house.ledger.admit(kind, "w"))
            self.works[-1].on_force = lambda work=self.works[-1]: self.kill(work)  # type: ignore[misc]
        elif self.house.machine.edge_open():
            self.edges.append(self.house.ledger.edge("e"))
            self.edges[-1].on_force = lambda work=self.edges[-1]: self.kill(work)  # type: ignore[misc]

    def is_late(self) -> bool:
        """Whether the deadline of the forced drain is over."""
        return self.house.clock.utcnow() >= START + timedelta(seconds=50)

    def kill(self, work: Work) -> None:
        """End work as a forced drain does; it closes later, or never."""
        assert self.is_late(), "no work is ended before the deadline"
        assert FORCED in self.asks, "no work is ended but by a drain that says so"
        self.forced.append(work)

    @precondition(lambda self: self.works)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.works.pop(data.draw(st.integers(0, len(self.works) - 1))).close()

    @precondition(lambda self: self.edges)
    @rule()
    def end_edge(self) -> None:
        self.edges.pop().close()

    @rule(stopped=st.booleans())
    def shut_down(self, stopped: bool) -> None:
        self.shut = True
        self.house.machine.mark_stopped() if stopped else self.house.machine.begin_shutdown()

    @invariant()
    def the_ledger_counts_what_is_open(self) -> None:
        assert self.house.ledger.total == len(self.works)
        assert self.house.ledger.edge_count == len(self.edges)

    @invariant()
    def work_only_falls_behind_a_closed_gate(self) -> None:
        total = self.house.ledger.total
        if self.house.machine.accepts():
            self.closed_total = None
        else:
            assert self.closed_total is None or total <= self.closed_total
            self.closed_total = total

    @invariant()
    def a_shutdown_wins(self) -> None:
        written = self.house.machine.status_to_write()
        if written is not None:
            self.writes.append(written)
        if self.shut:
            assert not self.house.machine.accepts()
            assert self.writes[-1] in (NodeState.STOPPING, NodeState.STOPPED)
        assert NodeState.DRAINED not in self.writes

    @invariant()
    def work_is_forced_once(self) -> None:
        assert len(self.forced) == len(set(self.forced))

    @invariant()
    def a_forced_drain_passes_nothing_on_after_its_deadline(self) -> None:
        machine = self.house.machine
        assert machine.forces() is (FORCED in self.asks and self.is_late())
        assert not (machine.forces() and (machine.edge_open() or machine.accepts()))
        deadline = machine.next_deadline()
        assert deadline is None or deadline > self.house.clock()

    @invariant()
    def drained_is_a_closed_gate_and_no_work(self) -> None:
        readout = self.house.machine.readout()
        if readout.state is NodeState.DRAINED or readout.safe_to_stop:
            assert not readout.accepting
            assert readout.in_flight.total == 0
        if readout.safe_to_stop:
            assert readout.edge == 0
        assert readout.in_flight.total >= len(readout.active_work)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
