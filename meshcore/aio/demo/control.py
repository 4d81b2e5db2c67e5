"""The demo's page on its own loopback port: shows the mesh, takes the switches.

Only this machine may turn them, and no foreign page in its browser: the address must be a loopback one (so a
name that was pointed here is refused), and whoever says where a form came from must say it came from here.
"""

from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from meshcore.aio.demo.mesh import DemoMesh
from meshcore.aio.demo.page import counts_line, document, recent_rows, state_cell
from meshcore.aio.demo.switches import Switch, SwitchError
from meshcore.aio.demo.traffic import Traffic
from meshcore.config_values import is_loopback

FORM_MAX_BYTES = 4096
ASSETS = {"control.css": "text/css", "control.js": "text/javascript"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Control:
    """The page of one demo mesh."""

    def __init__(self, mesh: DemoMesh, traffic: Traffic) -> None:
        self._mesh = mesh
        self._traffic = traffic

    def build(self) -> web.Application:
        """Return the routes."""
        app = web.Application(client_max_size=FORM_MAX_BYTES, middlewares=[_only_from_here])
        app.on_response_prepare.append(_add_headers)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/state", self._state),
                web.post("/switch", self._switch),
                *(web.get(f"/{name}", _asset) for name in ASSETS),
            ]
        )
        return app

    async def _page(self, _: web.Request) -> web.Response:
        return _html(document(self._mesh, self._traffic))

    async def _state(self, _: web.Request) -> web.Response:
        """Answer what the page keeps fresh, and what `demo --show` prints."""
        mesh = self._mesh
        return web.json_response(
            {
                "nodes": {node: child.state.value for node, child in mesh.nodes.items()},
                "pids": {node: child.pid for node, child in mesh.nodes.items()},
                "faults": {target: fault.value for target, fault in mesh.faults.items()},
                "troubles": mesh.troubles,
                "counts": dict(self._traffic.counts),
                "cells": {
                    **{f"state-{node}": state_cell(mesh, node) for node in mesh.nodes},
                    "counts": counts_line(self._traffic),
                    "recent": recent_rows(self._traffic.recent),
                },
            }
        )

    async def _switch(self, request: web.Request) -> web.Response:
        form = await request.post()
        try:
            await self._mesh.turn(Switch.parse(str(form.get("set", ""))))
        except SwitchError as exc:
            return _html(document(self._mesh, self._traffic, trouble=str(exc)), status=400)
        raise web.HTTPSeeOther("/")


async def _asset(request: web.Request) -> web.Response:
    name = request.path.removeprefix("/")
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return web.Response(text=text, content_type=ASSETS[name])


@web.middleware
async def _only_from_here(request: web.Request, handler: Handler) -> web.StreamResponse:
    origin = request.headers.get("Origin")
    foreign_origin = origin is not None and origin != f"http://{request.host}"
    foreign_site = request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
    if not is_loopback(request.url.host or "") or (
        request.method != "GET" and (foreign_origin or foreign_site)
    ):
        return web.Response(status=403, text="the demo's switches are for this machine alone\n")
    return await handler(request)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _html(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html")
