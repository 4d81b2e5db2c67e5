"""The demo's mesh with real nodes: switched, killed, brought back, ended."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from meshcore.aio.demo import mesh as mesh_module
from meshcore.aio.demo.child import ChildError, ChildState
from meshcore.aio.demo.mesh import DemoMesh
from meshcore.aio.demo.plan import NODES
from meshcore.aio.demo.switches import NodeSwitch, ProviderFault, Switch, SwitchError
from meshcore.aio.testing import wait_until

CHAT = {"model": "mock-fast", "messages": [{"role": "user", "content": "many:2"}]}


@pytest.fixture
async def running(mesh: DemoMesh) -> AsyncIterator[DemoMesh]:
    """The mesh, up."""
    async with mesh.running():
        yield mesh


def alive(pid: int | None) -> bool:
    return Path(f"/proc/{pid}").exists()


def spoil(file: Path) -> None:
    file.write_text("[broken")


async def chat(mesh: DemoMesh, node: str) -> tuple[int, str]:
    """Return status and `X-Mesh-Routed-Via` of a call; 503 while the node still waits for its dashboard."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{mesh.plan.url(node)}/v1/chat/completions", json=CHAT) as answer,
    ):
        return answer.status, answer.headers.get("X-Mesh-Routed-Via", "")


async def chat_until(mesh: DemoMesh, node: str, wanted: set[str]) -> None:
    """Call until the call is answered by one of `wanted`."""
    async with asyncio.timeout(30):
        while await chat(mesh, node) not in [(200, via) for via in wanted]:  # noqa: ASYNC110 - see below
            await asyncio.sleep(0.05)  # the mesh is other processes, which set no event here


async def test_the_mesh_copes_with_a_fault_and_a_killed_node(running: DemoMesh) -> None:
    assert {child.state for child in running.nodes.values()} == {ChildState.UP}
    await chat_until(running, "node-a", {"local"})

    await running.turn(Switch("node-a/alpha", ProviderFault.FAIL))
    await chat_until(running, "node-a", {"node-b", "node-c"})

    await running.turn(Switch("node-b", NodeSwitch.KILL))
    assert running.nodes["node-b"].state is ChildState.DOWN
    assert running.seconds_to_comeback("node-b") is None
    await chat_until(running, "node-a", {"node-c"})

    await running.turn(Switch("node-b", NodeSwitch.START))
    await wait_until(lambda: running.nodes["node-b"].state is ChildState.UP, seconds=60)


async def test_a_bounced_node_comes_back_by_itself(
    running: DemoMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh_module, "BOUNCE_SECONDS", 0.5)
    pid = running.nodes["node-c"].pid

    await running.turn(Switch("node-c", NodeSwitch.BOUNCE))
    seconds = running.seconds_to_comeback("node-c")
    await wait_until(lambda: running.nodes["node-c"].state is ChildState.UP, seconds=60)

    assert seconds is not None
    assert 0 <= seconds <= 0.5
    assert running.nodes["node-c"].pid not in (None, pid)
    assert running.seconds_to_comeback("node-c") is None


async def test_a_second_switch_replaces_the_comeback(running: DemoMesh) -> None:
    await running.turn(Switch("node-c", NodeSwitch.BOUNCE))

    await running.turn(Switch("node-c", NodeSwitch.KILL))

    assert running.seconds_to_comeback("node-c") is None
    assert running.nodes["node-c"].state is ChildState.DOWN


async def test_a_node_that_cannot_come_back_says_why(
    running: DemoMesh, caplog: pytest.LogCaptureFixture
) -> None:
    await running.turn(Switch("node-a", NodeSwitch.KILL))
    spoil(running.plan.config_file("node-a"))

    await running.turn(Switch("node-a", NodeSwitch.START))
    await wait_until(lambda: "node-a" in running.troubles, seconds=60)

    assert "not TOML" in running.troubles["node-a"]
    assert "node-a didn't come back" in caplog.text


async def test_all_processes_have_ended_behind_the_mesh(mesh: DemoMesh) -> None:
    async with mesh.running():
        pids = [child.pid for child in mesh.nodes.values()]
        await mesh.turn(Switch("node-c", NodeSwitch.BOUNCE))

    assert not any(map(alive, pids))


async def test_a_mesh_that_cannot_start_ends_what_it_started(mesh: DemoMesh) -> None:
    mesh.plan.token_files["node-b"].unlink()

    with pytest.raises(ChildError, match="token_file"):
        async with mesh.running():
            pass

    assert {child.state for child in mesh.nodes.values()} == {ChildState.DOWN}


@pytest.mark.parametrize(
    "switch", [Switch("node-z/alpha", ProviderFault.FAIL), Switch("node-z", NodeSwitch.KILL)]
)
async def test_an_unknown_target_is_named_with_those_there_are(mesh: DemoMesh, switch: Switch) -> None:
    with pytest.raises(SwitchError, match=f"'{switch.target}': expected one of {NODES[0]}"):
        await mesh.turn(switch)
