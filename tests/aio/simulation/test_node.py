"""A simulated node, before a dashboard that is as good as real."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from meshcore.aio.fake_dashboard import FakeDashboard
from meshcore.aio.simulation.node import NodePlan, SimulatedNode
from meshcore.aio.testing import wait_until
from meshcore.breaker import BreakerState
from meshcore.clock import utcnow
from meshcore.drain import NodeState
from meshcore.frames import Desired, DesiredDrain, Health, Hello


@asynccontextmanager
async def node_at(
    dashboard: FakeDashboard, plan: NodePlan, *, backlog: int = 0
) -> AsyncIterator[SimulatedNode]:
    """A node that reports to `dashboard` while the context lasts."""
    url = dashboard.url.replace("ws://", "http://").removesuffix("/link/v1")
    node = SimulatedNode("sim-0001", "msh_token", url, plan)
    node.remember(backlog)
    run = asyncio.create_task(node.run())
    try:
        yield node
    finally:
        run.cancel()
        await asyncio.wait([run])


async def test_it_says_hello_and_health_and_tells_its_calls() -> None:
    async with FakeDashboard() as dashboard, node_at(dashboard, NodePlan(calls_per_second=50)) as node:
        await wait_until(lambda: any(item["kind"] == "trace" for item in dashboard.items))

        [hello] = dashboard.all_of(Hello)
        assert (hello.node_id, len(hello.manifest.capabilities)) == ("sim-0001", 20)
        health = dashboard.all_of(Health)[0]
        assert (health.full, len(health.breakers)) == (True, 20)
        assert node.calls_ended > 0


async def test_a_node_that_makes_no_calls_is_quiet_and_has_caught_up() -> None:
    async with FakeDashboard() as dashboard, node_at(dashboard, NodePlan(calls_per_second=0)) as node:
        await wait_until(node.has_caught_up)

        assert dashboard.items == []


async def test_what_happened_before_it_came_is_told_completely() -> None:
    plan = NodePlan(calls_per_second=0)
    async with FakeDashboard() as dashboard, node_at(dashboard, plan, backlog=700) as node:
        assert not node.has_caught_up()

        await wait_until(node.has_caught_up)

        assert sum(item["kind"] == "trace" for item in dashboard.items) == 700


async def test_it_waits_with_its_replay_for_as_long_as_the_dashboard_says() -> None:
    plan = NodePlan(calls_per_second=0)
    async with FakeDashboard() as dashboard:
        dashboard.resume_after_seconds = 3600.0
        async with node_at(dashboard, plan, backlog=5) as node:
            await wait_until(lambda: bool(dashboard.all_of(Health)))

            assert not node.has_caught_up()
            assert dashboard.items == []


async def test_a_drain_closes_its_gate_and_is_told_step_by_step() -> None:
    order = Desired(generation=3, drain=DesiredDrain(since=utcnow(), by="alice", reason="rack 7"))
    async with FakeDashboard() as dashboard, node_at(dashboard, NodePlan(calls_per_second=50)) as node:
        await wait_until(lambda: node.calls_ended > 0)

        await dashboard.say(order)
        await wait_until(lambda: node.readout().state is NodeState.DRAINED)
        await wait_until(lambda: node.calls_refused > 0)
        await wait_until(lambda: "safe_to_stop" in [item.get("step") for item in dashboard.items])
        steps = [item["step"] for item in dashboard.items if item["kind"] == "drain_step"]
        assert steps[:2] == ["acknowledged", "gate_closed"]

        await dashboard.say(Desired(generation=2, drain=None))  # an old order changes nothing
        await dashboard.say(Desired(generation=4))
        await wait_until(lambda: node.readout().state is NodeState.RUNNING)
        assert node.readout().observed_generation == 4


async def test_a_forced_drain_ends_calls_in_flight_and_names_each() -> None:
    now = utcnow()
    force = DesiredDrain(since=now, deadline_at=now - timedelta(seconds=1), force=True)
    async with FakeDashboard() as dashboard, node_at(dashboard, NodePlan(calls_per_second=200)) as node:
        await wait_until(lambda: node.readout().in_flight.total > 2)

        await dashboard.say(Desired(generation=1, drain=force))

        await wait_until(lambda: node.readout().in_flight.total == 0)
        await wait_until(lambda: "forced" in [item.get("step") for item in dashboard.items])


async def test_an_override_holds_its_breaker_open_and_is_said_at_once() -> None:
    override = {"key": "provider-01", "action": "force_open", "actor": "alice", "reason": "bills"}
    async with FakeDashboard() as dashboard, node_at(dashboard, NodePlan(calls_per_second=0)) as node:
        await wait_until(node.link.first_descriptor.is_set)

        await dashboard.say(Desired(generation=1, overrides=(override,)))

        await wait_until(lambda: BreakerState.FORCED_OPEN in _said(dashboard))


def _said(dashboard: FakeDashboard) -> list[BreakerState]:
    return [report.state for health in dashboard.all_of(Health) for report in health.breakers]


@pytest.mark.parametrize("wrong", [{"providers": 0}, {"calls_per_second": -1.0}, {"max_items": 0}])
def test_a_plan_out_of_bounds_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected a provider"):
        NodePlan(**wrong)  # type: ignore[arg-type]
