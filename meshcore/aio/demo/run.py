"""The demo from its first process to its last."""

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from meshcore.aio.atomic_file import replace_file
from meshcore.aio.demo.control import Control
from meshcore.aio.demo.mesh import DemoMesh
from meshcore.aio.demo.plan import NODES, Plan
from meshcore.aio.demo.ports import HOST
from meshcore.aio.demo.traffic import Traffic
from meshcore.aio.stop_requests import StopRequests

CLOSE_SECONDS = 0.5  # for requests to the page while the demo ends


async def run_demo(
    plan: Plan, *, code: Path, announce: Callable[[str], None], lifeline: bool = False
) -> None:
    """Run the demo until SIGTERM or SIGINT; `announce` gets the address of its page once all is up.

    While it runs, `mesh.json` in the plan's folder says where everything is; no other demo may run there.
    With `lifeline` the end of standard input, a pipe, stops it too. Raises OSError or ChildError when it
    can't be started. All of its processes have ended when this returns.
    """
    requests = StopRequests()
    with requests.listening(lifeline=lifeline):
        whole = asyncio.create_task(_run_until_cancelled(plan, code, announce))
        stop = asyncio.create_task(requests.stop.wait())
        try:
            await asyncio.wait({whole, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            whole.cancel()
        with suppress(asyncio.CancelledError):
            await whole


async def _run_until_cancelled(plan: Plan, code: Path, announce: Callable[[str], None]) -> None:
    mesh = DemoMesh(plan, code=code)
    traffic = Traffic({node: plan.url(node) for node in NODES})
    runner = web.AppRunner(Control(mesh, traffic).build(), access_log=None, shutdown_timeout=CLOSE_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, plan.ports["control"]).start()
        async with mesh.running(), asyncio.TaskGroup() as group:
            group.create_task(traffic.run())
            replace_file(mesh_file(plan.folder), _whereabouts(plan))
            announce(plan.url("control"))
    finally:
        mesh_file(plan.folder).unlink(missing_ok=True)
        await runner.cleanup()


def mesh_file(folder: Path) -> Path:
    """Return the file that says where a running demo is."""
    return folder / "mesh.json"


def _whereabouts(plan: Plan) -> bytes:
    nodes = [{"id": node, "url": plan.url(node)} for node in NODES]
    return json.dumps({"control_url": plan.url("control"), "pid": os.getpid(), "nodes": nodes}).encode()
