"""The controller, with real files; the numbers are those of the drain cases."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from meshcore.aio.drain_marker import (
    DrainController,
    clear_drain_request,
    drain_request_path,
    write_drain_request,
)
from meshcore.aio.testing import wait_until
from meshcore.drain import DrainPolicy, NodeState, WorkKind
from meshcore.drain_steps import Step, StepName
from meshcore.frames import Desired, DesiredDrain
from meshcore.testing import START, ManualClock
from tests.aio.test_marker_file import ago, write_marker


class Watched:
    """A controller with what it said."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.statuses: list[str] = []
        self.steps: list[Step] = []
        self.controller = DrainController(
            home=home, on_status=self.statuses.append, on_step=self.steps.append, interval=0.02, **settings
        )


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    """A running controller of the home `tmp_path`."""
    watched = Watched(tmp_path)
    async with asyncio.TaskGroup() as group:
        group.create_task(watched.controller.watch())
        yield watched
        watched.controller.mark_stopped()


# Case 24: the states.


def test_drain_case_24_entering_and_leaving_a_drain_is_said_once(tmp_path: Path) -> None:
    watched = Watched(tmp_path)

    for move in (watched.controller.enter, watched.controller.enter, watched.controller.exit):
        move()
    watched.controller.exit()

    assert watched.statuses == ["draining", "running"]


def test_drain_case_24_leaving_a_drain_during_a_shutdown_does_not_resurrect(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.controller.enter()
    watched.controller.begin_shutdown()
    said = list(watched.statuses)

    watched.controller.exit()

    assert not watched.controller.draining
    assert watched.statuses == said == ["draining", "stopping"]


def test_drain_case_24_leaving_a_drain_after_the_stop_says_nothing(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.controller.enter()
    watched.controller.mark_stopped()
    said = list(watched.statuses)

    watched.controller.exit()

    assert watched.statuses == said
    assert not watched.controller.accepts(internal=True)


# Case 25: the watcher.


async def test_drain_case_25_the_watcher_follows_the_marker(watched: Watched, tmp_path: Path) -> None:
    write_drain_request(tmp_path)
    await wait_until(lambda: watched.controller.draining)
    clear_drain_request(tmp_path)
    await wait_until(lambda: not watched.controller.draining)

    assert watched.statuses == ["draining", "running"]


async def test_drain_case_25_an_error_in_a_tick_does_not_stop_the_watcher(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [RuntimeError("of the listener")]

    def on_status(status: str) -> None:
        if failures:
            raise failures.pop()

    controller = DrainController(home=tmp_path, on_status=on_status, interval=0.02)
    write_drain_request(tmp_path)
    async with asyncio.TaskGroup() as group:
        group.create_task(controller.watch())
        await wait_until(lambda: "a look at the drain failed" in caplog.text)
        clear_drain_request(tmp_path)
        await wait_until(lambda: not controller.draining)
        controller.mark_stopped()


async def test_the_watcher_ends_with_the_node(tmp_path: Path) -> None:
    controller = DrainController(home=tmp_path, on_status=lambda status: None, interval=600)
    watch = asyncio.create_task(controller.watch())
    await asyncio.sleep(0)

    controller.mark_stopped()

    async with asyncio.timeout(10):
        await watch


async def test_the_watcher_opens_the_gate_when_the_dashboard_does_not_answer(tmp_path: Path) -> None:
    watched = Watched(tmp_path, policy=DrainPolicy(join_wait_seconds=0.1))
    assert not watched.controller.accepts()

    async with asyncio.TaskGroup() as group:
        group.create_task(watched.controller.watch())
        await wait_until(lambda: watched.statuses == ["running"])
        watched.controller.mark_stopped()


def test_the_gate_opens_with_the_answer_of_the_dashboard(tmp_path: Path) -> None:
    watched = Watched(tmp_path, policy=DrainPolicy(join_wait_seconds=60))

    watched.controller.joined()

    assert watched.controller.accepts()
    assert watched.statuses == ["running"]


async def test_an_unreadable_marker_changes_nothing_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    controller = Watched(tmp_path).controller
    write_drain_request(tmp_path)
    controller.tick()
    clear_drain_request(tmp_path)
    drain_request_path(tmp_path).mkdir()

    for _ in range(3):
        controller.tick()
    kept = controller.draining
    drain_request_path(tmp_path).rmdir()
    controller.tick()

    assert kept
    assert not controller.draining
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        f"the drain marker can't be read, so nothing changes: [Errno 21] Is a directory: "
        f"'{drain_request_path(tmp_path)}'"
    ]


# Case 26: the gate.


async def test_drain_case_26_work_in_flight_goes_on_and_only_falls_behind_the_gate(
    watched: Watched, tmp_path: Path
) -> None:
    controller = watched.controller
    works = [controller.ledger.admit(WorkKind.CALL, f"w{n}") for n in range(3)]
    write_drain_request(tmp_path)
    await wait_until(lambda: controller.draining)

    assert not controller.accepts()
    assert controller.accepts(internal=True)
    assert controller.edge_open()
    for work in works:
        work.close()
    await wait_until(lambda: [step.step.value for step in watched.steps][-1:] == ["safe_to_stop"])

    steps = [(step.step.value, step.in_flight) for step in watched.steps]
    assert steps[0] == ("gate_closed", 3)
    assert steps[-2:] == [("drained", 0), ("safe_to_stop", 0)]
    assert controller.readout().state is NodeState.DRAINED


async def test_quiet_is_when_nothing_is_owned_or_passed_on(tmp_path: Path) -> None:
    controller = Watched(tmp_path).controller
    work, passed_on = controller.ledger.admit(WorkKind.CALL, "w"), controller.ledger.edge("e")
    waiting = asyncio.create_task(controller.until_quiet())

    await asyncio.sleep(0)
    work.close()
    await asyncio.sleep(0)
    early = waiting.done()
    passed_on.close()

    async with asyncio.timeout(10):
        await waiting
        await controller.until_quiet()
    assert not early


# Case 27: a restart.


def test_drain_case_27_a_marker_is_obeyed_with_the_first_look_after_a_restart(tmp_path: Path) -> None:
    write_drain_request(tmp_path)
    watched = Watched(tmp_path)

    watched.controller.tick()

    assert not watched.controller.accepts()
    assert watched.statuses == ["draining"]


@pytest.mark.parametrize(("instance_id", "draining"), [("process-1", True), ("process-2", False)])
def test_a_marker_for_one_process_does_not_bind_the_next(
    tmp_path: Path, instance_id: str, draining: bool
) -> None:
    write_drain_request(tmp_path, instance_id="process-1")
    controller = Watched(tmp_path, instance_id=instance_id).controller

    controller.tick()

    assert controller.draining is draining


def test_rewriting_the_marker_does_not_begin_a_new_drain(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    write_marker(tmp_path, requested_at=ago(60).isoformat())
    watched.controller.tick()
    since = watched.controller.readout().drain

    write_drain_request(tmp_path)
    watched.controller.tick()

    assert watched.controller.readout().drain == since
    assert [step.step.value for step in watched.steps].count("gate_closed") == 1


# Desired state.


ORDER = Desired(generation=5, drain=DesiredDrain(since=START, by="alice", reason="update", sticky=True))


async def test_an_order_is_stored_and_acted_on_at_once(tmp_path: Path) -> None:
    watched = Watched(tmp_path)

    await watched.controller.apply_desired(ORDER)

    assert watched.statuses == ["draining"]
    assert watched.controller.observed_generation == 5
    assert watched.controller.desired == ORDER
    assert [(step.step.value, step.generation) for step in watched.steps] == [
        *(("acknowledged", 5), ("gate_closed", 5)),
        *(("drained", 5), ("safe_to_stop", 5)),
    ]


async def test_a_stored_drain_holds_from_the_first_moment_of_the_next_process(tmp_path: Path) -> None:
    await Watched(tmp_path).controller.apply_desired(ORDER)

    controller = Watched(tmp_path, policy=DrainPolicy(join_wait_seconds=60)).controller

    assert not controller.accepts()
    assert controller.readout().state is NodeState.DRAINED
    assert controller.observed_generation == 5


async def test_each_order_is_passed_on_once_it_is_stored_and_an_old_one_never(tmp_path: Path) -> None:
    orders: list[Desired] = []
    watched = Watched(tmp_path, on_desired=orders.append)

    await watched.controller.apply_desired(ORDER)
    await watched.controller.apply_desired(Desired(generation=4))

    assert orders == [ORDER]


@pytest.mark.parametrize("generation", [4, 5])
async def test_an_old_order_cannot_come_back(tmp_path: Path, generation: int) -> None:
    controller = Watched(tmp_path).controller
    await controller.apply_desired(ORDER)

    await controller.apply_desired(Desired(generation=generation))

    assert controller.draining


async def test_the_end_of_a_desired_drain_leaves_a_local_one(tmp_path: Path) -> None:
    controller = Watched(tmp_path).controller
    await controller.apply_desired(ORDER)
    write_drain_request(tmp_path, principal="nas")
    await controller.apply_desired(Desired(generation=6))

    local = controller.readout().drain
    clear_drain_request(tmp_path)
    controller.tick()

    assert local is not None
    assert local.by == "nas"
    assert controller.accepts()


async def test_an_order_that_the_disk_refuses_is_not_acted_on_until_it_is_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    obstacle = tmp_path / "desired.json"
    controller = Watched(tmp_path).controller
    obstacle.mkdir()

    await controller.apply_desired(ORDER)
    refused = (controller.draining, controller.observed_generation)
    async with asyncio.TaskGroup() as group:
        group.create_task(controller.watch())
        obstacle.rmdir()
        await wait_until(lambda: controller.observed_generation == 5)
        controller.mark_stopped()

    assert refused == (False, 0)
    assert controller.draining
    assert [record.message.partition(":")[0] for record in caplog.records if record.levelname == "ERROR"] == [
        "desired state 5 can't be stored"
    ]


async def test_a_broken_store_drains_until_the_dashboard_speaks(tmp_path: Path) -> None:
    (tmp_path / "desired.json").write_text("{broken")
    controller = Watched(tmp_path).controller
    closed = (controller.accepts(), controller.observed_generation)

    await controller.apply_desired(Desired(generation=0))

    assert closed == (False, 0)
    assert controller.accepts()


async def test_why_an_order_is_not_stored_is_said_until_it_is(tmp_path: Path) -> None:
    obstacle = tmp_path / "desired.json"
    controller = Watched(tmp_path, problems=lambda: ("of the aliases",)).controller
    obstacle.mkdir()

    await controller.apply_desired(ORDER)
    told = controller.readout().problems
    obstacle.rmdir()
    await controller.apply_desired(ORDER)

    assert len(told) == 2
    assert "desired state 5 can't be stored: " in told[0]
    assert controller.readout().problems == ("of the aliases",)


# A deadline with force.


def by(seconds: float, **more: Any) -> Desired:
    """Return the order to drain within so many seconds, and to end then what is left."""
    deadline = START + timedelta(seconds=seconds)
    drain = DesiredDrain(since=START, by="alice", deadline_at=deadline, force=True, **more)
    return Desired(generation=5, drain=drain)


class Timed(Watched):
    """A controller under a manual clock, whose work ends when it is forced."""

    def __init__(self, home: Path) -> None:
        self.clock = ManualClock()
        super().__init__(home, clock=self.clock, utcnow=self.clock.utcnow)

    def work(self, name: str, kind: WorkKind = WorkKind.CALL) -> None:
        ledger = self.controller.ledger
        work = ledger.edge(name) if name.startswith("edge") else ledger.admit(kind, name)
        work.on_force = work.close

    def told(self) -> list[tuple[str, int, int]]:
        return [(step.step.value, step.in_flight, step.edge) for step in self.steps]


async def test_at_the_deadline_what_is_left_is_ended_one_by_one_runs_first(tmp_path: Path) -> None:
    node = Timed(tmp_path)
    for name, kind in (("c1", WorkKind.CALL), ("r1", WorkKind.RUN), ("edge-1", WorkKind.CALL)):
        node.work(name, kind)

    await node.controller.apply_desired(by(60.0))
    node.clock.advance(59.9)
    node.controller.tick()
    before = node.told()
    node.clock.advance(0.1)
    node.controller.tick()
    node.controller.tick()

    assert before == [("acknowledged", 2, 1), ("gate_closed", 2, 1)]
    assert node.told()[2:] == [
        *(("forced", 1, 1), ("forced", 0, 1), ("forced", 0, 0)),
        *(("in_flight", 0, 0), ("drained", 0, 0), ("safe_to_stop", 0, 0)),
    ]
    assert [step.detail.partition(":")[0] for step in node.steps if step.step is StepName.FORCED] == [
        *("run r1", "call c1", "call edge-1")
    ]


async def test_force_without_a_wait_ends_what_runs_at_once(tmp_path: Path) -> None:
    node = Timed(tmp_path)
    node.work("c1")

    await node.controller.apply_desired(by(0.0))

    assert node.controller.readout().in_flight.total == 0
    assert not node.controller.edge_open()


async def test_the_watcher_wakes_at_the_deadline_and_not_a_second_later(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    drain = DesiredDrain(since=now, deadline_at=now + timedelta(seconds=0.2), force=True)
    controller = DrainController(home=tmp_path, on_status=lambda status: None, interval=600)
    work = controller.ledger.admit(WorkKind.CALL, "c1")
    work.on_force = work.close
    watch = asyncio.create_task(controller.watch())

    await controller.apply_desired(Desired(generation=1, drain=drain))

    await wait_until(lambda: controller.readout().safe_to_stop)
    controller.mark_stopped()
    await watch


async def test_work_that_cannot_be_ended_yet_is_ended_with_a_later_look(tmp_path: Path) -> None:
    node = Timed(tmp_path)
    work = node.controller.ledger.admit(WorkKind.CALL, "c1")
    await node.controller.apply_desired(by(0.0))

    work.on_force = work.close
    node.controller.tick()

    assert node.controller.readout().safe_to_stop


async def test_what_a_drain_ends_is_known_by_its_id_while_it_is_counted(tmp_path: Path) -> None:
    node = Timed(tmp_path)
    work = node.controller.ledger.admit(WorkKind.CALL, "t1")
    work.on_force = lambda: None
    known = [node.controller.ended_by_force("t1")]

    await node.controller.apply_desired(by(0.0))
    known += [node.controller.ended_by_force("t1"), node.controller.ended_by_force("t2")]
    work.close()
    known.append(node.controller.ended_by_force("t1"))

    assert known == [False, True, False, False]


async def test_two_hours_without_a_dashboard_change_nothing_by_themselves(tmp_path: Path) -> None:
    drained = Timed(tmp_path / "drained")
    serving = Timed(tmp_path / "serving")
    expires_at = START + timedelta(minutes=10)
    order = DesiredDrain(since=START, by="ci", deadline_at=expires_at, expires_at=expires_at)
    await drained.controller.apply_desired(Desired(generation=5, drain=order))
    await serving.controller.apply_desired(Desired(generation=5))
    before = [drained.controller.readout(), serving.controller.readout()]

    for _ in range(120):
        for node in (drained, serving):
            node.clock.advance(60)
            node.controller.tick()

    assert [drained.controller.readout(), serving.controller.readout()] == before
    assert drained.statuses == ["draining"]
    assert serving.statuses == []


async def test_orders_late_twice_and_out_of_order_leave_the_newest(tmp_path: Path) -> None:
    node = Timed(tmp_path)
    orders = [
        Desired(generation=n, drain=DesiredDrain(since=START, reason=str(n)) if n % 2 else None)
        for n in range(1, 6)
    ]

    for place in (2, 0, 2, 4, 1, 3, 4, 0):
        await node.controller.apply_desired(orders[place])

    assert node.controller.observed_generation == 5
    assert node.controller.desired == orders[4]
    assert [step.generation for step in node.steps if step.step is StepName.ACKNOWLEDGED] == [3, 5]
    assert Timed(tmp_path).controller.desired == orders[4]
