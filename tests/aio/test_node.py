"""A whole node in this process: between a mock provider, a peer and a dashboard that is as good as real."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshcore.aio import node as node_module
from meshcore.aio.alias_file import AliasFile
from meshcore.aio.drain_marker import write_drain_request
from meshcore.aio.fake_dashboard import FakeDashboard
from meshcore.aio.lock_file import held_lock
from meshcore.aio.mock_ai import MockAi
from meshcore.aio.node import Node, run_node
from meshcore.aio.stop_requests import StopRequests
from meshcore.aio.telemetry_feed import TelemetryFeed
from meshcore.aio.testing import wait_until
from meshcore.capability import Manifest
from meshcore.config import parse_config
from meshcore.config_sections import NodeConfig
from meshcore.errors import AlreadyRunning
from meshcore.frames import Desired, DesiredDrain, GoingIdle, Health, Hello, Inbound, InboundAck, Peers
from meshcore.testing import START

CHAT = {"model": "mock-model", "messages": [{"role": "user", "content": "many:2"}]}
MANY = {"model": "mock-model", "messages": [{"role": "user", "content": "many:20"}]}
SLOW = {"model": "mock-model", "messages": [{"role": "user", "content": "slow:10x60000"}]}


class Running:
    """A node that runs, as a client and its operator see it."""

    def __init__(self, url: str, home: Path, session: aiohttp.ClientSession, requests: StopRequests) -> None:
        self.url = url
        self.home = home
        self.requests = requests
        self._session = session

    async def get(self, path: str) -> tuple[int, Any]:
        """Return status and JSON of a GET."""
        async with self._session.get(self.url + path) as answer:
            return answer.status, await answer.json()

    async def chat(self, body: dict[str, Any]) -> tuple[int, str]:
        """Return status and `X-Mesh-Routed-Via` of a call."""
        async with self._session.post(f"{self.url}/v1/chat/completions", json=body) as answer:
            await answer.read()
            return answer.status, answer.headers.get("X-Mesh-Routed-Via", "")

    async def make_run(self, body: dict[str, Any]) -> str:
        """Make a run and return its id."""
        async with self._session.post(f"{self.url}/v1/runs", json=body) as answer:
            assert answer.status == 202
            return str((await answer.json())["id"])

    async def metrics(self) -> str:
        """Return the node's metrics."""
        async with self._session.get(f"{self.url}/metrics") as answer:
            return await answer.text()

    async def state(self) -> str:
        """Return the node's own word about itself."""
        _, body = await self.get("/v1/health")
        return str(body["state"])


def config(
    folder: Path,
    *,
    node_id: str = "node-a",
    listen: str = "127.0.0.1:0",
    secret: bool = True,
    provider: str = "",
    dashboard: str = "",
    join_wait_seconds: int = 60,
    extra: str = "",
) -> NodeConfig:
    tables = f'[node]\nid = "{node_id}"\nlisten = "{listen}"\nhome = "{folder}/home"\n'
    if secret:
        tables += 'mesh_secret_env = "S"\n'
    if provider:
        tables += f'[[providers]]\nname = "alpha"\nbase_url = "{provider}/v1"\nmodels = ["mock-model"]\n'
    if dashboard:
        tables += f'[dashboard]\nurl = "{dashboard}"\ntoken_env = "T"\n'
        tables += f"join_wait_seconds = {join_wait_seconds}\n"

    def read_file(path: str) -> str:
        raise FileNotFoundError(path)

    environ = {"S": "of-the-mesh", "T": "msh_token"}
    return parse_config(tables + extra, path="/node.toml", environ=environ, read_file=read_file)


@asynccontextmanager
async def running(settings: NodeConfig, alias_file: AliasFile | None = None) -> AsyncIterator[Running]:
    """Let a node run while the context lasts."""
    requests = StopRequests()
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        group.create_task(Node(settings, alias_file=alias_file).run(requests, url.set_result))
        try:
            yield Running(await url, Path(settings.node.home), session, requests)
        finally:
            requests.stop.set()
            requests.hurry.set()


def address_of(dashboard: FakeDashboard) -> str:
    """Return the dashboard's address as configurations have it."""
    return dashboard.url.replace("ws://", "http://").removesuffix("/link/v1")


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that must be asked for."""
    async with asyncio.timeout(20):
        while not await look():  # noqa: ASYNC110 - the node is another side, it sets no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def provider() -> AsyncIterator[str]:
    """The URL of a mock provider."""
    async with MockAi().serve() as url:
        yield url


async def test_a_node_without_a_dashboard_serves(tmp_path: Path, provider: str) -> None:
    async with running(config(tmp_path, provider=provider)) as node:
        assert await node.chat(CHAT) == (200, "local")
        assert (await node.get("/readyz"))[0] == 200

    assert not (tmp_path / "home" / "spool").exists()


async def test_the_local_marker_drains_a_node(tmp_path: Path, provider: str) -> None:
    async with running(config(tmp_path, provider=provider)) as node:
        write_drain_request(node.home)

        async def drained() -> bool:
            return await node.state() == "drained"

        await eventually(drained)
        assert (await node.get("/readyz"))[0] == 503


async def test_a_marker_that_is_there_is_obeyed_from_the_first_call(
    tmp_path: Path, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write_drain_request(tmp_path / "home")

    async with running(config(tmp_path, provider=provider)) as node:
        assert (await node.chat(CHAT))[0] == 503

    said = [record.message.partition(" ")[0] for record in caplog.records]
    assert said.index("draining:") < said.index("node-a")  # before it listens


async def test_a_node_reports_calls_breakers_and_drains_to_its_dashboard(
    tmp_path: Path, provider: str
) -> None:
    async with FakeDashboard() as dashboard:
        async with running(config(tmp_path, provider=provider, dashboard=address_of(dashboard))) as node:
            await wait_until(lambda: bool(dashboard.all_of(Health)))
            assert await node.chat(CHAT) == (200, "local")
            await dashboard.say(Desired(generation=3, drain=DesiredDrain(since=START, by="alice")))
            await wait_until(lambda: dashboard.all_of(Health)[-1].node.state == "drained")
            await wait_until(lambda: {"trace", "drain_step"} <= {item["kind"] for item in dashboard.items})
            last = dashboard.all_of(Health)[-1]

        await wait_until(lambda: bool(dashboard.all_of(GoingIdle)))

    (hello,) = dashboard.all_of(Hello)
    assert dashboard.authorizations == ["Bearer msh_token"]
    assert (hello.node_id, hello.desired_generation) == ("node-a", 0)
    assert {offer.provider for offer in hello.manifest.capabilities} == {"alpha"}
    assert last.node.observed_generation == 3
    assert dashboard.all_of(Health)[0].full
    assert [report.key for report in dashboard.all_of(Health)[0].breakers] == ["alpha"]
    steps = [item["step"] for item in dashboard.items if item["kind"] == "drain_step"]
    assert steps == ["acknowledged", "gate_closed", "drained", "safe_to_stop"]


async def test_a_forced_drain_ends_calls_and_the_dashboard_is_told_of_each(
    tmp_path: Path, provider: str
) -> None:
    now = datetime.now(UTC)
    order = DesiredDrain(since=now, by="alice", deadline_at=now, force=True)
    async with FakeDashboard() as dashboard:
        async with running(config(tmp_path, provider=provider, dashboard=address_of(dashboard))) as node:
            await wait_until(lambda: bool(dashboard.all_of(Health)))
            call = asyncio.create_task(node.chat(SLOW))
            await eventually(partial(in_flight, node, 1))

            await dashboard.say(Desired(generation=3, drain=order))

            assert (await call)[0] == 503
            await wait_until(lambda: dashboard.all_of(Health)[-1].node.safe_to_stop)
            await wait_until(lambda: "trace" in {item["kind"] for item in dashboard.items})
        steps = {item["step"]: item for item in dashboard.items if item["kind"] == "drain_step"}
    (trace,) = [item["trace"] for item in dashboard.items if item["kind"] == "trace"]

    assert (trace["code"], trace["trace_id"] in steps["forced"]["detail"]) == ("draining", True)
    assert "drain_forced" in trace["message"]
    drain = dashboard.all_of(Health)[-1].node.drain
    assert (drain.by, drain.force, drain.deadline_exceeded) == ("alice", True, False)
    assert {breaker.strikes for health in dashboard.all_of(Health) for breaker in health.breakers} == {0}


async def test_what_a_node_cannot_take_of_an_order_it_says_to_its_dashboard(
    tmp_path: Path, provider: str
) -> None:
    async with (
        FakeDashboard() as dashboard,
        running(config(tmp_path, provider=provider, dashboard=address_of(dashboard))),
    ):
        await wait_until(lambda: bool(dashboard.all_of(Health)))

        await dashboard.say(Desired(generation=3, aliases={"mesh/fast": ["alpha"]}))

        await wait_until(lambda: bool(dashboard.all_of(Health)[-1].node.problems))
        readout = dashboard.all_of(Health)[-1].node
    assert readout.observed_generation == 3
    assert "mesh/fast" in readout.problems[0]


async def test_an_order_to_cancel_a_run_is_in_its_log_before_it_is_acknowledged(
    tmp_path: Path, provider: str
) -> None:
    async with FakeDashboard() as dashboard:
        settings = config(tmp_path, provider=provider, dashboard=address_of(dashboard))
        async with running(settings) as node:
            await wait_until(lambda: bool(dashboard.all_of(Health)))
            await dashboard.say(Desired(generation=1))
            await eventually(partial(opened, node))
            run_id = await node.make_run(SLOW)

            order = {"type": "cancel_run", "run_id": run_id, "by": "alice", "reason": "wrong"}
            await dashboard.say(Inbound(event=order, bufferId="b1"))
            await wait_until(lambda: bool(dashboard.all_of(InboundAck)))

            _, run = await node.get(f"/v1/runs/{run_id}")
            assert run["cancelled_by"] == "alice"
            assert dashboard.all_of(Hello)[0].log_id == run["log_id"]


async def test_a_node_is_not_ready_until_its_run_log_works(tmp_path: Path, provider: str) -> None:
    blocked = tmp_path / "runs"
    blocked.write_text("")  # where the log's folder should be
    extra = f'[runs]\nlog = "sqlite:///{blocked}/runs.sqlite3"\n'
    async with running(config(tmp_path, provider=provider, extra=extra)) as node:
        status, body = await node.get("/readyz")
        assert (status, body["status"]) == (503, "log_unreachable")
        assert await node.chat(CHAT) == (200, "local")

        blocked.unlink()
        await eventually(partial(opened, node))


async def test_the_bounds_of_a_run_are_settings(tmp_path: Path, provider: str) -> None:
    async with running(config(tmp_path, provider=provider, extra="[runs]\nmax_chunks = 3\n")) as node:
        await eventually(partial(opened, node))
        run_id = await node.make_run(MANY)

        async def has_failed() -> bool:
            return (await node.get(f"/v1/runs/{run_id}"))[1]["status"] == "failed"

        await eventually(has_failed)
        _, run = await node.get(f"/v1/runs/{run_id}")

    assert run["reason"] == "buffer_full"


async def test_a_run_log_that_opens_late_is_named_in_another_hello(tmp_path: Path, provider: str) -> None:
    blocked = tmp_path / "runs"
    blocked.write_text("")  # where the log's folder should be
    extra = f'[runs]\nlog = "sqlite:///{blocked}/runs.sqlite3"\n'
    async with FakeDashboard() as dashboard:
        settings = config(tmp_path, provider=provider, dashboard=address_of(dashboard), extra=extra)
        async with running(settings):
            await wait_until(lambda: bool(dashboard.all_of(Health)))
            first = [hello.log_id for hello in dashboard.all_of(Hello)]

            blocked.unlink()
            await wait_until(lambda: bool(dashboard.all_of(Hello)[-1].log_id))

    assert first == [""]
    assert len(dashboard.all_of(Hello)) == 2


async def test_a_run_log_that_opens_at_once_is_named_in_the_first_hello_and_no_other(
    tmp_path: Path, provider: str
) -> None:
    async with FakeDashboard() as dashboard:
        async with running(config(tmp_path, provider=provider, dashboard=address_of(dashboard))):
            await wait_until(lambda: len(dashboard.all_of(Health)) > 1)

        (hello,) = dashboard.all_of(Hello)
    assert hello.log_id


async def test_an_order_that_a_node_cannot_carry_out_is_not_acknowledged(
    tmp_path: Path, provider: str
) -> None:
    async with (
        FakeDashboard() as dashboard,
        running(config(tmp_path, provider=provider, dashboard=address_of(dashboard))),
    ):
        await wait_until(lambda: bool(dashboard.all_of(Health)))

        await dashboard.say(Inbound(event={"type": "explode"}, bufferId="b1"))
        await dashboard.say(Desired(generation=3))
        await wait_until(lambda: dashboard.all_of(Health)[-1].node.observed_generation == 3)

    assert dashboard.all_of(InboundAck) == []


async def test_a_local_drain_is_told_with_who_asked_for_it_and_why(tmp_path: Path, provider: str) -> None:
    async with (
        FakeDashboard() as dashboard,
        running(config(tmp_path, provider=provider, dashboard=address_of(dashboard))) as node,
    ):
        await wait_until(lambda: bool(dashboard.all_of(Health)))

        write_drain_request(node.home, principal="nas", reason="update", sticky=True)

        await wait_until(lambda: dashboard.all_of(Health)[-1].node.state == "drained")
        drain = dashboard.all_of(Health)[-1].node.drain
    assert (drain.source, drain.by, drain.reason, drain.sticky) == ("local", "nas", "update", True)


async def test_case_39_overrides_and_aliases_are_obeyed_at_once_and_after_a_restart_without_a_dashboard(
    tmp_path: Path, provider: str
) -> None:
    override = {"key": "alpha", "action": "force_open", "actor": "alice", "reason": "maintenance"}
    order = Desired(generation=4, overrides=(override,), aliases={"mesh/fast": ["alpha/mock-model"]})
    by_alias = {**CHAT, "model": "mesh/fast"}

    async def forced(node: Running) -> bool:
        _, health = await node.get("/v1/health")
        return bool(health["providers"]["alpha"]["state"] == "forced_open")

    async with FakeDashboard() as dashboard:
        settings = config(tmp_path, provider=provider, dashboard=address_of(dashboard))
        async with running(settings) as node:
            await wait_until(lambda: bool(dashboard.all_of(Health)))
            await dashboard.say(order)
            await eventually(partial(forced, node))
            refused = await node.chat(by_alias)
            await wait_until(lambda: "transition" in {item["kind"] for item in dashboard.items})
    (told,) = [item for item in dashboard.items if item["kind"] == "transition"]
    async with running(config(tmp_path, provider=provider)) as node:
        after_restart = await forced(node), await node.chat(by_alias)
        _, aliases = await node.get("/v1/aliases")

    assert (told["to_state"], told["actor"], told["reason"]) == ("forced_open", "alice", "maintenance")
    assert (refused[0], after_restart) == (503, (True, (503, "local")))
    assert aliases["source"] == "dashboard"


async def test_the_aliases_of_a_node_follow_its_file(tmp_path: Path, provider: str) -> None:
    table = {"mesh/fast": ("alpha/mock-model",)}
    file = tmp_path / "node.toml"
    file.write_text("first")
    alias_file = AliasFile(file, lambda: table, look_seconds=0.01)

    async with running(config(tmp_path, provider=provider), alias_file) as node:

        async def served() -> bool:
            return await node.chat({**CHAT, "model": "mesh/fast"}) == (200, "local")

        await eventually(served)


async def test_a_node_waits_for_its_dashboard_with_a_closed_gate(tmp_path: Path, provider: str) -> None:
    async with FakeDashboard() as dashboard:
        dashboard.mute = True
        async with running(config(tmp_path, provider=provider, dashboard=address_of(dashboard))) as node:
            await wait_until(lambda: bool(dashboard.all_of(Hello)))
            assert await node.get("/readyz") == (503, {"status": "joining", "safe_to_stop": False})


async def test_a_failure_of_reporting_leaves_the_node_serving(
    tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(self: TelemetryFeed) -> None:
        raise RuntimeError("of the test")

    monkeypatch.setattr(TelemetryFeed, "run", fail)
    async with (
        FakeDashboard() as dashboard,
        running(config(tmp_path, provider=provider, dashboard=address_of(dashboard))) as node,
    ):
        await wait_until(lambda: bool(dashboard.all_of(Health)))
        assert await node.chat(CHAT) == (200, "local")

    assert "reporting to the dashboard failed" in caplog.text


async def test_a_breaker_that_trips_is_said_at_once_and_spooled(tmp_path: Path) -> None:
    async with FakeDashboard() as dashboard:
        settings = config(
            tmp_path,
            provider="http://127.0.0.1:9",
            dashboard=address_of(dashboard),
            extra="[probe]\ninterval_seconds = 0.05\n[breaker]\nbackoff_seconds = 0.5\n",
        )
        async with running(settings):
            await wait_until(lambda: "transition" in {item["kind"] for item in dashboard.items})
            await wait_until(lambda: _states(dashboard) >= {"open", "half_open"})


def _states(dashboard: FakeDashboard) -> set[str]:
    return {report.state.value for health in dashboard.all_of(Health) for report in health.breakers}


async def test_peers_find_each_other_and_serve_each_other(tmp_path: Path, provider: str) -> None:
    async with running(config(tmp_path / "b", node_id="node-b", provider=provider)) as far:
        peer = f'[[peers]]\nid = "node-b"\nurl = "{far.url}"\n'
        async with running(config(tmp_path / "a", extra=peer)) as near:

            async def served() -> bool:
                return await near.chat(CHAT) == (200, "node-b")

            await eventually(served)

            write_drain_request(far.home)
            await eventually(partial(closed, far))
            assert (await near.chat(CHAT))[0] == 503
            assert await in_flight(far, 0)


async def test_a_peer_that_the_dashboard_names_serves_also_when_the_dashboard_is_away_at_the_next_start(
    tmp_path: Path, provider: str
) -> None:
    async with running(config(tmp_path / "b", node_id="node-b", provider=provider)) as far:
        named = Peers(rev=1, upsert=(Manifest(node_id="node-b", url=far.url),))

        async def served(node: Running) -> bool:
            return await node.chat(CHAT) == (200, "node-b")

        async with FakeDashboard() as dashboard:
            settings = config(tmp_path / "a", dashboard=address_of(dashboard), join_wait_seconds=0)
            async with running(settings) as near:
                await wait_until(lambda: bool(dashboard.all_of(Health)))
                await dashboard.say(named)
                await eventually(partial(served, near))
                await wait_until((near.home / "peers.json").exists)

        async with running(settings) as again:
            await eventually(partial(served, again))


async def test_a_node_without_a_mesh_secret_hears_of_peers_that_it_cannot_call(
    tmp_path: Path, provider: str
) -> None:
    async with FakeDashboard() as dashboard:
        settings = config(tmp_path, provider=provider, secret=False, dashboard=address_of(dashboard))
        async with running(settings) as node:
            await wait_until(lambda: bool(dashboard.all_of(Health)))
            await dashboard.say(Peers(rev=1, upsert=(Manifest(node_id="node-b", url="http://127.0.0.1:1"),)))
            await dashboard.say(Desired(generation=1))
            await wait_until(lambda: dashboard.all_of(Health)[-1].node.observed_generation == 1)
            assert await node.chat(CHAT) == (200, "local")


async def test_a_node_without_a_mesh_secret_serves_its_clients(tmp_path: Path, provider: str) -> None:
    async with running(config(tmp_path, provider=provider, secret=False)) as node:
        assert await node.chat(CHAT) == (200, "local")
        assert (await node.get("/bus/v1/manifest"))[0] == 401


async def test_a_stopping_node_takes_nothing_new_and_finishes_what_it_has(
    tmp_path: Path, provider: str
) -> None:
    async with running(config(tmp_path, provider=provider)) as node:
        call = asyncio.create_task(node.chat(SLOW))
        await eventually(partial(in_flight, node, 1))

        node.requests.request("the test")
        await eventually(partial(closed, node))

        assert await node.state() == "stopping"
        assert not call.done()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_work_that_does_not_end_is_cut_off_after_its_time(
    tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(node_module, "FINISH_SECONDS", 0.05)
    async with running(config(tmp_path, provider=provider)) as node:
        call = asyncio.create_task(node.chat(SLOW))
        await eventually(partial(in_flight, node, 1))

        node.requests.stop.set()

        with pytest.raises(aiohttp.ClientError):
            await call
    assert "stopping with 1 in flight" in caplog.text


async def test_a_home_in_use_is_refused(tmp_path: Path) -> None:
    settings = config(tmp_path)

    with held_lock(tmp_path / "home" / "lock"), pytest.raises(AlreadyRunning):
        await run_node(settings, announce=print)


async def test_an_address_in_use_is_refused_and_everything_closed(tmp_path: Path, provider: str) -> None:
    taken = provider.removeprefix("http://")
    async with FakeDashboard() as dashboard:
        settings = config(tmp_path, dashboard=address_of(dashboard), listen=taken)

        with pytest.raises(OSError, match="address already in use"):
            await run_node(settings, announce=print)


async def test_a_node_runs_until_its_process_is_asked_to_stop(tmp_path: Path) -> None:
    def stop(url: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    async with asyncio.timeout(30):
        await run_node(config(tmp_path), announce=stop)


async def in_flight(node: Running, count: int) -> bool:
    """Return whether the node's metrics say so many calls are in flight."""
    lines = [line for line in (await node.metrics()).splitlines() if line.startswith("mesh_node_in_flight")]
    return lines[0].endswith(f" {count}.0")


async def opened(node: Running) -> bool:
    """Return whether the gate is open."""
    return (await node.get("/readyz"))[0] == 200


async def closed(node: Running) -> bool:
    """Return whether the gate is closed."""
    return (await node.get("/readyz"))[0] == 503
