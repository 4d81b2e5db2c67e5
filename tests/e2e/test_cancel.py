"""The order to cancel a run waits for a node of the run's log, and is given to it when it says hello.

Gateway nodes keep no run log yet, so the node of the log is one that speaks the link by our own client.
"""

import asyncio
from functools import partial
from typing import Any

import pytest

from meshcore.aio.link_client import RelayAdapter, WebSocketRelayTransport, link_url
from meshcore.capability import Manifest
from meshcore.clock import utcnow
from meshcore.drain import NodeState, Readout
from meshcore.frames import Health, Hello
from tests.e2e.harness import PATIENCE_SECONDS
from tests.e2e.room import Room

pytestmark = pytest.mark.e2e

RUN = "run_abc123_7"
CANCEL = f"runs/{RUN}/cancel"
LOOK_SECONDS = 0.05
LOG = "abc123" + "0" * 10


def link(
    room: Room, name: str, *, log_id: str, taken: "asyncio.Queue[dict[str, Any]] | None"
) -> RelayAdapter:
    """Return the link of a node that isn't connected; without `taken` it can't carry an order out."""
    hello = Hello(
        node_id=name,
        instance_id=f"{name}-of-{log_id}",
        spool_id=name,
        clock=utcnow(),
        manifest=Manifest(node_id=name),
        log_id=log_id,
    )
    url, token = link_url(room.dashboard.url), room.enrolment.node_tokens[name]
    transport = WebSocketRelayTransport(url, name, token=token, hello=lambda: hello, health=well)
    if taken is not None:
        transport.set_inbound_handler(taken.put_nowait)
    return RelayAdapter(transport=transport)


def well() -> Health:
    """Say that the node runs."""
    return Health(no=1, at=utcnow(), node=Readout(state=NodeState.RUNNING, accepting=True))


async def cancelled_as(room: Room, observed: str) -> tuple[int, str, str]:
    """Order it again, which is the same order, until it is so far."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (answer := await cancel(room))[2] != observed:  # noqa: ASYNC110 - the far side is a process
            await asyncio.sleep(LOOK_SECONDS)
    return answer


async def cancel(room: Room) -> tuple[int, str, str]:
    """Order it; return status, the order's id and how far it is."""
    body = b'{"reason": "wrong question"}'
    answer = await asyncio.to_thread(partial(room.send, "POST", CANCEL, body, program="rescuer"))
    return answer.status, answer.body["order"], answer.body["observed"]


async def test_the_order_waits_for_a_node_of_the_log_and_is_done_by_that_nodes_word(room: Room) -> None:
    await asyncio.to_thread(room.dashboard.start_and_wait)
    taken: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    unable = link(room, "node-a", log_id=LOG, taken=None)
    stranger = link(room, "node-b", log_id="f" * 16, taken=taken)
    able = link(room, "node-c", log_id=LOG, taken=taken)

    nobody = await cancel(room)
    await stranger.connect()
    await asyncio.to_thread(room.wait_for, "node-b", "running")
    of_another_log = await cancel(room)
    await unable.connect()
    with_one_who_cannot = await cancelled_as(room, "pending")
    was_idle = taken.empty()
    await unable.disconnect()
    await stranger.disconnect()
    await able.connect()
    async with asyncio.timeout(PATIENCE_SECONDS):
        event = await taken.get()
    done = await cancelled_as(room, "observed")
    await able.disconnect()

    order = nobody[1]
    assert nobody == (202, order, "log_unreachable")
    assert of_another_log == (202, order, "log_unreachable")
    assert with_one_who_cannot == (202, order, "pending")
    assert was_idle
    assert (event["type"], event["run_id"], event["by"]) == ("cancel_run", RUN, "rescuer")
    assert event["reason"] == "wrong question"
    assert done == (200, order, "observed")
    assert taken.empty()
    entries = await asyncio.to_thread(room.entries)
    [effect] = [entry for entry in entries if entry["action"] == "run.cancel.effect"]
    assert (effect["actor_name"], effect["target"]) == ("node-c", f"run:{RUN}")
    assert next(each for each in entries if each["n"] == effect["cause_n"])["action"] == "run.cancel"
