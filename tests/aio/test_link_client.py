"""A node's end of the link: each item arrives once, and desired state too, whatever happens to the socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from meshcore.aio import link_client
from meshcore.aio.fake_dashboard import FakeDashboard
from meshcore.aio.link_client import LinkClient, RelayAdapter, WebSocketRelayTransport, link_url
from meshcore.aio.spool_file import SpoolFile
from meshcore.aio.testing import wait_until
from meshcore.capability import Manifest
from meshcore.drain import NodeState, Readout
from meshcore.frames import (
    Desired,
    DrainStepItem,
    GoingIdle,
    Health,
    Hello,
    Inbound,
    InboundAck,
    Limits,
    Peers,
    Refused,
    Telemetry,
)
from meshcore.link import CloseCode
from meshcore.spool_entry import ENVELOPE_BYTES

AT = datetime(2026, 1, 1, tzinfo=UTC)
HEALTH = Health(no=0, at=AT, node=Readout(state=NodeState.RUNNING, accepting=True))
HELLO = Hello(node_id="node-a", instance_id="i1", spool_id="", clock=AT, manifest=Manifest(node_id="node-a"))
STEP = DrainStepItem(seq=0, at=AT, generation=1, step="drained")


class Obeyed:
    """Takes desired state; fails when it is told to."""

    def __init__(self) -> None:
        self.desired: list[Desired] = []
        self.error: Exception | None = None

    async def __call__(self, desired: Desired) -> None:
        if self.error:
            raise self.error
        self.desired.append(desired)


@pytest.fixture
async def dashboard() -> AsyncIterator[FakeDashboard]:
    async with FakeDashboard() as running:
        yield running


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[SpoolFile]:
    async with SpoolFile.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def obeyed() -> Obeyed:
    return Obeyed()


@pytest.fixture(autouse=True)
def no_pause_after_a_rewind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_client, "REWIND_SECONDS", 0.01)


@asynccontextmanager
async def running(
    url: str,
    spool: SpoolFile,
    obeyed: Obeyed,
    *,
    on_inbound: Callable[[dict[str, object]], object] | None = None,
    on_peers: Callable[[Peers], None] | None = None,
) -> AsyncIterator[tuple[LinkClient, "asyncio.Task[None]"]]:
    client = LinkClient(
        url,
        "msh_secret",
        hello=lambda: HELLO,
        health=lambda: HEALTH,
        spool=spool,
        on_desired=obeyed,
        on_inbound=on_inbound,
        on_peers=on_peers,
        reconnect_backoff_s=0.01,
    )
    run = asyncio.create_task(client.run())
    yield client, run
    run.cancel()
    await asyncio.wait([run])


def numbers(dashboard: FakeDashboard) -> list[int]:
    return [item["seq"] for item in dashboard.items]


async def test_the_spool_is_emptied_and_forgotten_as_it_is_acknowledged(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    for _ in range(3):
        spool.append("drain_step", STEP)

    async with running(dashboard.url, spool, obeyed):
        await wait_until(lambda: numbers(dashboard) == [1, 2, 3])
        spool.append("drain_step", STEP)
        await wait_until(lambda: numbers(dashboard) == [1, 2, 3, 4] and spool.report().size == 0)

    hello = dashboard.all_of(Hello)[0]
    assert (hello.spool_id, dashboard.authorizations) == (spool.spool_id, ["Bearer msh_secret"])


async def test_through_lost_connections_each_item_arrives_once_and_in_order(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    async with running(dashboard.url, spool, obeyed) as _:
        for wave in range(5):
            for _ in range(100):
                spool.append("drain_step", STEP)
            dashboard.rewinds = wave % 2
            await wait_until(lambda: len(dashboard.items) > wave * 100)  # noqa: B023 - awaited right here
            await dashboard.cut()
            connections = dashboard.connections
            await wait_until(lambda: dashboard.connections > connections)  # noqa: B023
        await wait_until(lambda: len(dashboard.items) >= 500)

    assert numbers(dashboard) == list(range(1, 501))


async def test_what_was_committed_and_not_acknowledged_is_not_sent_again(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    for _ in range(10):
        spool.append("drain_step", STEP)
    dashboard.hwm = 6

    async with running(dashboard.url, spool, obeyed):
        await wait_until(lambda: numbers(dashboard) == [7, 8, 9, 10])


async def test_refused_items_are_said_and_count_as_delivered(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    dashboard.refused_items = tuple(Refused(seq=seq, reason="bad") for seq in range(1, 9))
    spool.append("drain_step", STEP)

    with capture_logs() as logs:
        async with running(dashboard.url, spool, obeyed):
            await wait_until(lambda: bool(dashboard.items) and spool.report().size == 0)

    (said,) = [line for line in logs if line["event"] == "link.items_refused"]
    assert (said["count"], len(said["first"])) == (8, link_client.REFUSED_SHOWN)


async def test_a_restored_spool_takes_a_new_name_and_connects_again(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    before = spool.spool_id
    spool.append("drain_step", STEP)
    dashboard.spool_reset, dashboard.hwm = True, 1000

    async with running(dashboard.url, spool, obeyed):
        await wait_until(lambda: spool.spool_id != before)
        dashboard.spool_reset, dashboard.hwm = False, 0
        await wait_until(lambda: numbers(dashboard) == [1])

    assert dashboard.all_of(Hello)[-1].spool_id == spool.spool_id


async def test_a_disk_that_fails_is_asked_again_and_the_link_lives_on(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = [OSError(28, "No space left on device"), OSError(28, "No space left on device")]
    resume = spool.resume

    async def resumed(mark: int) -> None:
        if fails:
            raise fails.pop()
        await resume(mark)

    monkeypatch.setattr(link_client, "SPOOL_SECONDS", 0.01)
    monkeypatch.setattr(spool, "resume", resumed)
    spool.append("drain_step", STEP)

    async with running(dashboard.url, spool, obeyed):
        await wait_until(lambda: numbers(dashboard) == [1])

    assert len(dashboard.all_of(Hello)) == 1


async def test_a_spool_is_sent_as_late_as_the_dashboard_asks_but_not_later_than_makes_sense(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_client, "RESUME_MAX_SECONDS", 0.2)
    dashboard.resume_after_seconds = 86_400.0
    spool.append("drain_step", STEP)

    began_at = monotonic()

    async with running(dashboard.url, spool, obeyed):
        await wait_until(lambda: numbers(dashboard) == [1])

    assert monotonic() - began_at >= 0.2


async def test_what_comes_while_the_dashboard_asks_for_rest_goes_together_but_a_backlog_does_not_rest(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    dashboard.limits = Limits(telemetry_seconds=30.0, max_frame_bytes=ENVELOPE_BYTES + 2000)
    rested, go_on = asyncio.Queue[float](), asyncio.Event()

    async def rest(seconds: float) -> None:
        if seconds == 30.0:
            rested.put_nowait(seconds)
            await go_on.wait()

    monkeypatch.setattr(link_client, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": rest}))
    for _ in range(50):
        spool.append("drain_step", STEP)

    async with running(dashboard.url, spool, obeyed), asyncio.timeout(10):
        await rested.get()
        backlog = len(dashboard.all_of(Telemetry))
        for _ in range(3):
            spool.append("drain_step", STEP)
        await asyncio.sleep(0)
        assert numbers(dashboard) == [*range(1, 51)]
        go_on.set()
        await wait_until(lambda: len(numbers(dashboard)) == 53)

    assert backlog > 1, "more than one frame, without a rest between them"
    assert len(dashboard.all_of(Telemetry)) == backlog + 1


async def test_desired_state_comes_with_the_descriptor_and_on_every_change(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    dashboard.desired = Desired(generation=3)

    async with running(dashboard.url, spool, obeyed) as (client, _):
        async with asyncio.timeout(10):
            await client.first_descriptor.wait()
        at_the_gate = list(obeyed.desired)
        await dashboard.say(Desired(generation=4))
        await wait_until(lambda: len(obeyed.desired) == 2)

    assert at_the_gate == [Desired(generation=3)]
    assert obeyed.desired[1] == Desired(generation=4)


async def test_desired_state_that_cannot_be_stored_does_not_end_the_link(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    dashboard.desired = Desired(generation=3)
    obeyed.error = OSError("disk full")

    async with running(dashboard.url, spool, obeyed) as (client, _):
        async with asyncio.timeout(10):
            await client.first_descriptor.wait()
        obeyed.error = None
        await dashboard.say(Desired(generation=4))
        await wait_until(lambda: obeyed.desired == [Desired(generation=4)])

    assert dashboard.connections == 1


async def test_without_desired_state_the_descriptor_alone_is_enough(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    async with running(dashboard.url, spool, obeyed) as (client, _), asyncio.timeout(10):
        await client.first_descriptor.wait()

    assert obeyed.desired == []


async def test_health_goes_up_and_at_once_on_a_change(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    dashboard.limits = Limits(health_seconds=60)
    async with running(dashboard.url, spool, obeyed) as (client, _):
        client.health_changed()
        await wait_until(lambda: len(dashboard.all_of(Health)) == 1)
        client.health_changed()
        await wait_until(lambda: len(dashboard.all_of(Health)) == 2)


async def test_which_peers_there_are_is_passed_on(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    heard: list[Peers] = []

    async with running(dashboard.url, spool, obeyed, on_peers=heard.append) as (client, _):
        await wait_until(client.first_descriptor.is_set)
        await dashboard.say(Peers(rev=1, upsert=(Manifest(node_id="node-b"),)))
        await dashboard.say(Peers(rev=2, remove=("node-b",)))
        await wait_until(lambda: len(heard) == 2)

    assert heard == [Peers(rev=1, upsert=(Manifest(node_id="node-b"),)), Peers(rev=2, remove=("node-b",))]


async def test_peers_that_cannot_be_taken_or_that_nobody_wants_do_not_end_the_link(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    def fail(peers: Peers) -> None:
        raise RuntimeError(f"rev {peers.rev}")

    for on_peers in (fail, None):
        async with running(dashboard.url, spool, obeyed, on_peers=on_peers) as (client, _):
            await wait_until(client.first_descriptor.is_set)
            await dashboard.say(Peers(rev=1))
            await dashboard.say(Desired(generation=dashboard.connections))
            await wait_until(lambda: Desired(generation=dashboard.connections) in obeyed.desired)

    assert dashboard.connections == 2


async def test_events_are_handled_and_acknowledged(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    events: list[dict[str, object]] = []
    async with running(dashboard.url, spool, obeyed, on_inbound=events.append) as (client, _):
        await wait_until(client.first_descriptor.is_set)
        await dashboard.say(Inbound(event={"kind": "cancel"}, bufferId="b1"))
        await wait_until(lambda: dashboard.all_of(InboundAck) == [InboundAck(bufferId="b1")])

    assert events == [{"kind": "cancel"}]


async def test_a_clean_stop_says_goodbye_first(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    async with running(dashboard.url, spool, obeyed) as (client, run):
        await wait_until(client.first_descriptor.is_set)

        assert await client.go_idle(5) is True
        run.cancel()
        await asyncio.wait([run])

    assert len(dashboard.all_of(GoingIdle)) == 1
    assert dashboard.connections == 1


async def test_a_refused_token_ends_the_run(
    dashboard: FakeDashboard, spool: SpoolFile, obeyed: Obeyed
) -> None:
    dashboard.closes_with = CloseCode.UNAUTHORIZED

    async with running(dashboard.url, spool, obeyed) as (client, run):
        async with asyncio.timeout(10):
            await run

        assert not client.first_descriptor.is_set()


async def test_a_dashboard_that_comes_later_is_found(spool: SpoolFile, obeyed: Obeyed) -> None:
    async with FakeDashboard() as gone:
        url = gone.url

    async with running(url, spool, obeyed) as (client, run):
        spool.append("drain_step", STEP)
        await asyncio.sleep(0.05)

        assert not run.done()
        assert not client.first_descriptor.is_set()
        assert await client.go_idle(1) is False


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/link/v1"),
        ("https://mesh.example/board/", "wss://mesh.example/board/link/v1"),
        ("https://mesh.example/link/v1", "wss://mesh.example/link/v1"),
        ("ws://127.0.0.1:1/anything", "ws://127.0.0.1:1/anything"),
    ],
)
def test_the_address_of_the_dashboard_is_enough(given: str, used: str) -> None:
    assert link_url(given) == used


def test_the_relay_is_found_beside_the_client() -> None:
    assert RelayAdapter(transport=WebSocketRelayTransport("ws://127.0.0.1:1", "node-a"))
