"""Live cells: what is pushed into open pages, rendered once for all who look.

    page "fleet"        cells of every node, the verdict, the totals, the notices
    page "node:<name>"  the cells of that node's own page

The pages include the same templates, so a pushed cell is byte for byte the cell of a fresh page, but for the
attribute that makes htmx swap it. Nothing here knows who looks.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from dashboard.selectors import nodes, traffic, verdict
from dashboard.selectors.nodes import Gathered, NodeNow

FLEET = "fleet"
NODE_PAGE = "node:"
HEARD = "heard"  # no change of the feed: the ages of all nodes, for whoever refreshes them by the clock
OOB = mark_safe(' hx-swap-oob="true"')

FLEET_CELLS = ("verdict", "totals", "notices")
ROW_CELLS = ("state", "going", "heard", "flight", "rate", "errors", "times", "spark")
TRAFFIC_CELLS = ("rate", "errors", "times", "spark")
NODE_CELLS = ("state", "heard", "figures", "drain", "breakers", "facts")


def pages_of(key: str) -> tuple[str, ...]:
    """Return the pages with cells that a change of `key` may alter; "node:" stands for every node's page."""
    kind, _, name = key.partition(":")
    if kind in ("node", "providers") and name:
        return (FLEET, NODE_PAGE + name)
    return {"nodes": (FLEET,), "traces": (FLEET, NODE_PAGE), HEARD: (FLEET, NODE_PAGE)}.get(key, ())


def render(page: str, key: str, now: datetime) -> str:
    """Return the cells of `page` that a change of `key` may alter, as out-of-band swaps, or ""."""
    if page not in pages_of(key) and not (page.startswith(NODE_PAGE) and NODE_PAGE in pages_of(key)):
        return ""
    return _fleet(key, now) if page == FLEET else _node(page, key, now)


def render_all(page: str, now: datetime) -> str:
    """Return every cell of `page`, as out-of-band swaps; "" for a page that has none."""
    if page == FLEET:
        mesh = nodes.gather(now=now)
        return _page_cells(mesh) + _cells(ROW_CELLS, mesh.nodes, now)
    return render(page, page, now)


def fleet_context(mesh: Gathered) -> dict[str, Any]:
    """Return what the fleet's cells print."""
    return {
        "now": mesh.now,
        "health_seconds": mesh.health_seconds,
        "rows": mesh.nodes,
        "verdict": verdict.of(mesh),
        "notices": verdict.notices(mesh),
        "totals": {
            "nodes": len(mesh.nodes),
            "in_flight": sum(row.in_flight for row in mesh.nodes if row.heard),
            "traffic": mesh.whole,
        },
    }


def node_context(mesh: Gathered, row: NodeNow) -> dict[str, Any]:
    """Return what the cells of a node's page, and its table of traffic, print."""
    readings = traffic.read(now=mesh.now, node_id=row.node.pk)
    return {
        "now": mesh.now,
        "health_seconds": mesh.health_seconds,
        "row": row,
        "by_provider": readings.by_provider(),
    }


def _fleet(key: str, now: datetime) -> str:
    mesh = nodes.gather(now=now)
    if key == HEARD:
        return _cells(("heard",), mesh.nodes, now)
    if key == "traces":
        return _page_cells(mesh) + _cells(TRAFFIC_CELLS, mesh.nodes, now)
    row = mesh.named(key.partition(":")[2])
    return _page_cells(mesh) + _cells(ROW_CELLS, [row] if row else [], now)


def _node(page: str, key: str, now: datetime) -> str:
    row = nodes.gather(now=now).named(page.removeprefix(NODE_PAGE))
    wanted = {HEARD: ("heard",), "traces": ("figures",)}.get(key, NODE_CELLS)
    return _cells(wanted, [row] if row else [], now)


def _page_cells(mesh: Gathered) -> str:
    context = fleet_context(mesh)
    return "".join(_cell(name, context) for name in FLEET_CELLS)


def _cells(names: Iterable[str], rows: Iterable[NodeNow], now: datetime) -> str:
    return "".join(_cell(name, {"row": row, "now": now}) for row in rows for name in names)


def _cell(name: str, context: dict[str, Any]) -> SafeString:
    return render_to_string(f"cells.html#{name}", {**context, "oob": OOB})
