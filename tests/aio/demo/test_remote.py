"""Switches turned from another process."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from meshcore.aio.demo import remote
from meshcore.aio.demo.control import Control
from meshcore.aio.demo.mesh import DemoMesh
from meshcore.aio.demo.run import mesh_file
from meshcore.aio.demo.switches import ProviderFault, SwitchError
from meshcore.aio.demo.traffic import Traffic


@pytest.fixture
async def folder(mesh: DemoMesh, tmp_path: Path) -> AsyncIterator[Path]:
    """The folder of a demo whose page is up."""
    runner = web.AppRunner(Control(mesh, Traffic({})).build(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    mesh_file(tmp_path).write_text(json.dumps({"control_url": url}))
    yield tmp_path
    await runner.cleanup()


async def test_switches_turn_from_outside(folder: Path, mesh: DemoMesh) -> None:
    await asyncio.to_thread(remote.turn, folder, ["node-a/alpha=fail", "node-b/beta=slow"])

    state = await asyncio.to_thread(remote.show, folder)
    assert mesh.faults["node-b/beta"] is ProviderFault.SLOW
    assert state["faults"]["node-a/alpha"] == "fail"
    assert state["nodes"]["node-a"] == "down"


async def test_one_wrong_switch_turns_none(folder: Path, mesh: DemoMesh) -> None:
    with pytest.raises(SwitchError, match="node-b=explode"):
        await asyncio.to_thread(remote.turn, folder, ["node-a/alpha=fail", "node-b=explode"])

    assert mesh.faults["node-a/alpha"] is ProviderFault.OK


async def test_a_target_that_the_demo_does_not_have_is_named(folder: Path) -> None:
    with pytest.raises(SwitchError, match="'node-z/alpha': the demo has no such target"):
        await asyncio.to_thread(remote.turn, folder, ["node-z/alpha=fail"])


def test_without_a_demo_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(remote.DemoAway, match=f"no demo runs in {tmp_path}"):
        remote.show(tmp_path)


def test_a_demo_that_died_is_said(tmp_path: Path) -> None:
    mesh_file(tmp_path).write_text('{"control_url": "http://127.0.0.1:9"}')

    with pytest.raises(remote.DemoAway, match="doesn't answer"):
        remote.turn(tmp_path, ["node-a=kill"])
