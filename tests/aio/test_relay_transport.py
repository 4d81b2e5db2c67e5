"""The link's socket on the node's side, against a dashboard on a real socket."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from meshcore.aio.fake_dashboard import FakeDashboard
from meshcore.aio.relay_session import LinkLost
from meshcore.aio.relay_transport import RelayAdapter, WebSocketRelayTransport
from meshcore.aio.testing import wait_until
from meshcore.frames import GoingIdle, Hello, Inbound, InboundAck
from meshcore.link import CloseCode, LinkPolicy


@pytest.fixture
async def dashboard() -> AsyncIterator[FakeDashboard]:
    async with FakeDashboard() as running:
        yield running


@pytest.fixture
async def transport(dashboard: FakeDashboard) -> AsyncIterator[WebSocketRelayTransport]:
    made = WebSocketRelayTransport(dashboard.url, "node-a", token="msh_secret")
    yield made
    await made.disconnect()


@pytest.fixture
async def redialling(dashboard: FakeDashboard) -> AsyncIterator[WebSocketRelayTransport]:
    made = WebSocketRelayTransport(dashboard.url, "node-a", reconnect=True, reconnect_backoff_s=0.01)
    yield made
    await made.disconnect()


async def test_it_connects_says_hello_with_its_token_and_the_first_descriptor_resolves_the_handshake(
    dashboard: FakeDashboard, transport: WebSocketRelayTransport
) -> None:
    dashboard.hwm = 7

    await transport.connect()
    body = await transport.handshake()

    assert body.resume_from == 7
    assert [hello.node_id for hello in dashboard.all_of(Hello)] == ["node-a"]
    assert dashboard.authorizations == ["Bearer msh_secret"]


async def test_a_handshake_needs_a_connection(transport: WebSocketRelayTransport) -> None:
    with pytest.raises(LinkLost, match="connect first"):
        await transport.handshake()
    with pytest.raises(LinkLost, match="connect first"):
        await transport.ended()


async def test_a_dashboard_that_never_answers_hello_is_waited_for_in_vain(
    dashboard: FakeDashboard, transport: WebSocketRelayTransport
) -> None:
    dashboard.mute = True
    await transport.connect()

    with pytest.raises(TimeoutError):
        await transport.handshake(timeout_s=0.05)


async def test_a_handshake_that_takes_too_long_closes_the_connection(dashboard: FakeDashboard) -> None:
    dashboard.mute = True
    transport = WebSocketRelayTransport(dashboard.url, "node-a", policy=LinkPolicy(handshake_seconds=0.05))
    await transport.connect()

    with pytest.raises(LinkLost) as lost:
        await transport.handshake()

    assert lost.value.code == CloseCode.HANDSHAKE_TIMEOUT
    assert (await transport.ended()).code == CloseCode.HANDSHAKE_TIMEOUT


async def test_nobody_there_is_said_at_once() -> None:
    async with FakeDashboard() as gone:
        url = gone.url
    transport = WebSocketRelayTransport(url, "node-a")

    with pytest.raises(LinkLost, match="ConnectionRefusedError"):
        await transport.connect()


async def test_what_was_connected_cannot_be_connected_again(transport: WebSocketRelayTransport) -> None:
    await transport.connect()

    with pytest.raises(RuntimeError, match="connected already"):
        await transport.connect()


async def test_going_idle_is_acknowledged(
    dashboard: FakeDashboard, transport: WebSocketRelayTransport
) -> None:
    await transport.connect()
    await transport.handshake()

    assert await transport.go_idle(2) is True
    assert len(dashboard.all_of(GoingIdle)) == 1


async def test_going_idle_without_an_answer_is_false_in_time(
    dashboard: FakeDashboard, transport: WebSocketRelayTransport
) -> None:
    dashboard.mute_idle = True
    await transport.connect()
    await transport.handshake()

    assert await transport.go_idle(0.05) is False


async def test_going_idle_without_a_connection_is_false(transport: WebSocketRelayTransport) -> None:
    assert await transport.go_idle(2) is False


async def test_going_idle_fails_at_once_when_the_connection_is_lost(
    dashboard: FakeDashboard, transport: WebSocketRelayTransport
) -> None:
    dashboard.mute_idle = True
    await transport.connect()
    await transport.handshake()

    idle = asyncio.create_task(transport.go_idle(60))
    await wait_until(lambda: bool(dashboard.all_of(GoingIdle)))
    await dashboard.cut()

    assert await idle is False


async def test_only_events_with_a_buffer_id_are_acknowledged(
    dashboard: FakeDashboard, transport: WebSocketRelayTransport
) -> None:
    events: list[dict[str, Any]] = []
    transport.set_inbound_handler(events.append)
    await transport.connect()
    await transport.handshake()

    await dashboard.say(Inbound(event={"kind": "hint"}))
    await dashboard.say(Inbound(event={"kind": "cancel"}, bufferId="buf-42"))
    await wait_until(lambda: bool(dashboard.all_of(InboundAck)))

    assert events == [{"kind": "hint"}, {"kind": "cancel"}]
    assert dashboard.all_of(InboundAck) == [InboundAck(bufferId="buf-42")]


async def test_a_copy_after_a_lost_connection_is_acknowledged_and_not_handled_again(
    dashboard: FakeDashboard, redialling: WebSocketRelayTransport
) -> None:
    events: list[dict[str, Any]] = []
    redialling.set_inbound_handler(events.append)
    await redialling.connect()
    await redialling.handshake()
    await dashboard.say(Inbound(event={"n": 1}, bufferId="b1"))
    await wait_until(lambda: len(dashboard.all_of(InboundAck)) == 1)

    await dashboard.cut()
    await wait_until(lambda: dashboard.connections == 2)
    await redialling.opened()
    await dashboard.say(Inbound(event={"n": 1}, bufferId="b1"))
    await wait_until(lambda: len(dashboard.all_of(InboundAck)) == 2)

    assert events == [{"n": 1}]


async def test_an_acknowledgement_without_a_connection_is_left_to_the_next_copy(
    transport: WebSocketRelayTransport,
) -> None:
    with pytest.raises(LinkLost):
        await transport._acknowledge("b1")


async def test_it_dials_again_when_asked_to_and_only_then(
    dashboard: FakeDashboard, transport: WebSocketRelayTransport, redialling: WebSocketRelayTransport
) -> None:
    await transport.connect()
    await transport.handshake()
    await dashboard.cut()
    end = await transport.ended()
    assert (end.code, dashboard.connections) == (None, 1)

    await redialling.connect()
    await redialling.handshake()
    await dashboard.cut()

    await wait_until(lambda: dashboard.connections >= 3)


async def test_it_keeps_dialling_while_nobody_is_there_and_one_dialler_is_enough() -> None:
    async with FakeDashboard() as first:
        url = first.url
    transport = WebSocketRelayTransport(url, "node-a", reconnect=True, reconnect_backoff_s=0.01)
    connecting = asyncio.create_task(transport.connect())
    await asyncio.sleep(0.05)
    assert not connecting.done()

    await transport.disconnect()

    with pytest.raises(LinkLost, match="disconnected"):
        await connecting


async def test_a_deliberate_disconnect_never_dials_again(dashboard: FakeDashboard) -> None:
    transport = WebSocketRelayTransport(dashboard.url, "node-a", reconnect=True, random=lambda: 0.0)
    await transport.connect()
    await transport.handshake()

    with capture_logs() as logs:
        await transport.disconnect()
        await asyncio.sleep(0.1)

    assert dashboard.connections == 1
    assert logs == [], "what was meant to end is not reported as lost"


async def test_not_even_from_inside_the_wait_between_two_dials(dashboard: FakeDashboard) -> None:
    transport = WebSocketRelayTransport(
        dashboard.url, "node-a", reconnect=True, reconnect_backoff_s=0.2, random=lambda: 1.0
    )
    await transport.connect()
    await transport.handshake()
    session = await transport.opened()
    await dashboard.cut()
    await session.gone()

    await transport.disconnect()
    await asyncio.sleep(0.4)

    assert dashboard.connections == 1


async def test_after_a_disconnect_it_can_be_connected_again(
    dashboard: FakeDashboard, transport: WebSocketRelayTransport
) -> None:
    await transport.connect()
    await transport.disconnect()

    await transport.connect()
    await transport.handshake()

    assert dashboard.connections == 2


async def test_a_flapping_dashboard_is_met_ever_more_slowly(dashboard: FakeDashboard) -> None:
    dashboard.closes_with = CloseCode.TRY_AGAIN_LATER
    drawn: list[float] = []

    def random() -> float:
        drawn.append(asyncio.get_running_loop().time())
        return 1.0

    transport = WebSocketRelayTransport(
        dashboard.url, "node-a", reconnect=True, reconnect_backoff_s=0.02, random=random
    )
    await transport.connect()
    await wait_until(lambda: len(drawn) == 5)
    await transport.disconnect()

    waits = [later - earlier for earlier, later in itertools.pairwise(drawn)]
    assert all(wait >= 0.02 * 2**n for n, wait in enumerate(waits))


async def test_a_refused_token_ends_the_dialling_and_says_so(
    dashboard: FakeDashboard, redialling: WebSocketRelayTransport
) -> None:
    dashboard.closes_with = CloseCode.UNAUTHORIZED
    await redialling.connect()

    async with asyncio.timeout(10):
        end = await redialling.ended()

    assert end.code == CloseCode.UNAUTHORIZED
    assert dashboard.connections == 1


async def test_the_adapter_connects_with_the_handshake_and_says_goodbye(dashboard: FakeDashboard) -> None:
    adapter = RelayAdapter(transport=WebSocketRelayTransport(dashboard.url, "node-a"))

    body = await adapter.connect()
    await adapter.disconnect()

    assert body.contract_version == 1
    assert len(dashboard.all_of(GoingIdle)) == 1


async def test_the_adapter_closes_even_when_nobody_says_goodbye(dashboard: FakeDashboard) -> None:
    dashboard.mute_idle = True
    transport = WebSocketRelayTransport(dashboard.url, "node-a")
    adapter = RelayAdapter(transport=transport, idle_timeout_s=0.05)
    await adapter.connect()
    session = await transport.opened()

    await adapter.disconnect()

    assert not session.is_open


async def test_the_adapter_is_not_connected_after_a_handshake_that_failed(dashboard: FakeDashboard) -> None:
    dashboard.closes_with = CloseCode.TRY_AGAIN_LATER
    transport = WebSocketRelayTransport(dashboard.url, "node-a", reconnect=True, reconnect_backoff_s=0.01)

    with pytest.raises(LinkLost):
        await RelayAdapter(transport=transport).connect()
    before = dashboard.connections
    await asyncio.sleep(0.1)

    assert dashboard.connections == before
