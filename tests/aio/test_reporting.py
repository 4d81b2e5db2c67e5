"""A node's reports, between its parts and a dashboard that is as good as real."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from meshcore.aio.drain_marker import DrainController
from meshcore.aio.fake_dashboard import FakeDashboard
from meshcore.aio.health import ProviderHealthCache
from meshcore.aio.reporting import Reporting
from meshcore.aio.telemetry_feed import TelemetryFeed
from meshcore.aio.testing import wait_until
from meshcore.capability import Manifest
from meshcore.clock import monotonic, utcnow
from meshcore.config import parse_config
from meshcore.drain import DrainPolicy, NodeState
from meshcore.frames import Desired, DesiredDrain, GoingIdle, Health, Hello
from meshcore.link import CloseCode
from meshcore.run_reports import RUNS_MAX, RunReport
from meshcore.testing import START
from meshcore.trace import RoutingTrace
from meshcore.version import VERSION

TRACE = RoutingTrace(trace_id="t1", capability="llm.chat", started_at=START, duration_ms=41.0)


class House:
    """Reporting with the parts that it reports of."""

    def __init__(self, home: Path, dashboard: FakeDashboard) -> None:
        url = dashboard.url.replace("ws://", "http://").removesuffix("/link/v1")
        text = f'[node]\nid = "node-a"\nlisten = "127.0.0.1:0"\nhome = "{home}"\n[dashboard]\nurl = "{url}"\n'
        config = parse_config(
            text + 'token_env = "T"', path="/n.toml", environ={"T": "msh_token"}, read_file=str
        )
        assert config.dashboard is not None
        self.runs: list[RunReport] = []
        self.controller = DrainController(
            home=home,
            on_status=lambda status: self.reporting.on_status(status),
            on_step=lambda step: self.reporting.on_step(step),
            policy=DrainPolicy(join_wait_seconds=600),
            instance_id="process-1",
        )
        self.health = ProviderHealthCache(failure_threshold=1)
        self.health.ensure("alpha")
        self.reporting = Reporting(
            config,
            config.dashboard,
            instance_id="process-1",
            controller=self.controller,
            health=self.health,
            manifest=lambda: Manifest(node_id="node-a"),
            runs=lambda: self.runs,
            clock=monotonic,
            utcnow=utcnow,
        )
        self.health.add_transition_listener(self.reporting.on_transition)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Report while the context lasts."""
        async with self.reporting.spooling():
            task = asyncio.create_task(self.reporting.run())
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def dashboard() -> AsyncIterator[FakeDashboard]:
    async with FakeDashboard() as running:
        yield running


@pytest.fixture
async def house(tmp_path: Path, dashboard: FakeDashboard) -> AsyncIterator[House]:
    """A house whose reporting runs and whose dashboard has heard of its health."""
    house = House(tmp_path, dashboard)
    async with house.running():
        await wait_until(lambda: bool(dashboard.all_of(Health)))
        yield house


async def test_a_node_introduces_itself(house: House, dashboard: FakeDashboard) -> None:
    (hello,) = dashboard.all_of(Hello)

    assert (hello.node_id, hello.instance_id) == ("node-a", "process-1")
    assert hello.boot_epoch == house.controller.boot_epoch
    assert hello.manifest == Manifest(node_id="node-a")
    assert hello.spool_id
    assert dashboard.authorizations == ["Bearer msh_token"]


async def test_the_answer_of_the_dashboard_opens_the_gate(house: House, dashboard: FakeDashboard) -> None:
    await wait_until(house.controller.accepts)

    await wait_until(lambda: dashboard.all_of(Health)[-1].node.state is NodeState.RUNNING)
    assert dashboard.all_of(Health)[-1].version == VERSION


async def test_an_order_is_obeyed_and_its_steps_come_back(house: House, dashboard: FakeDashboard) -> None:
    await dashboard.say(Desired(generation=3, drain=DesiredDrain(since=START, by="alice")))

    await wait_until(lambda: "safe_to_stop" in {item.get("step") for item in dashboard.items})
    await wait_until(lambda: dashboard.all_of(Health)[-1].node.observed_generation == 3)


async def test_a_tripped_breaker_is_said_and_kept(house: House, dashboard: FakeDashboard) -> None:
    house.health.mark_unhealthy("alpha", "HTTP 503")

    await wait_until(lambda: "transition" in {item["kind"] for item in dashboard.items})
    await wait_until(
        lambda: "open" in {b.state.value for each in dashboard.all_of(Health) for b in each.breakers}
    )


async def test_the_runs_of_a_node_are_said_up_to_the_bound_and_the_rest_counted(
    house: House, dashboard: FakeDashboard
) -> None:
    house.runs += [RunReport(run_id=f"run_{n}", status="running") for n in range(RUNS_MAX + 2)]

    await wait_until(lambda: any(each.runs for each in dashboard.all_of(Health)))

    said = next(each for each in dashboard.all_of(Health) if each.runs)
    assert (len(said.runs), said.runs_more) == (RUNS_MAX, 2)


async def test_calls_without_a_dashboard_are_there_when_it_returns(
    tmp_path: Path, dashboard: FakeDashboard
) -> None:
    house = House(tmp_path, dashboard)
    dashboard.closes_with = CloseCode.TRY_AGAIN_LATER
    async with house.running():
        await wait_until(lambda: dashboard.connections > 0)
        house.reporting.on_trace(TRACE)

    dashboard.closes_with = None
    async with House(tmp_path, dashboard).running():
        await wait_until(lambda: {"trace", "histogram"} <= {item["kind"] for item in dashboard.items})

    assert [item["trace"]["trace_id"] for item in dashboard.items if item["kind"] == "trace"] == ["t1"]


async def test_a_node_says_that_it_goes(house: House, dashboard: FakeDashboard) -> None:
    await house.reporting.go_idle()

    assert dashboard.all_of(GoingIdle)


async def test_one_part_of_reporting_fails_alone(
    tmp_path: Path,
    dashboard: FakeDashboard,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(feed: TelemetryFeed) -> None:
        raise RuntimeError("of the test")

    monkeypatch.setattr(TelemetryFeed, "run", fail)
    house = House(tmp_path, dashboard)
    async with house.running():
        await wait_until(house.controller.accepts)

    assert "reporting to the dashboard failed" in caplog.text
