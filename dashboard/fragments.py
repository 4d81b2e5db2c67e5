"""Live cells: what is pushed into open pages, rendered once for all who look.

    page "fleet"        cells of every node, the verdict, the totals, the notices
    page "node:<name>"  the cells of that node's own page
    page "providers"    the breakers of every node that has a column, and what each row amounts to

The pages include the same templates, so a pushed cell is byte for byte the cell of a fresh page, but for the
attribute that makes htmx swap it. Nothing here knows who looks.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from dashboard.selectors import matrix, nodes, traffic, verdict
from dashboard.selectors.matrix import Matrix
from dashboard.selectors.nodes import Gathered, NodeNow
from dashboard.selectors.shortlist import Column

FLEET = "fleet"
NODE_PAGE = "node:"
PROVIDERS = "providers"
HEARD = "heard"  # no change of the feed: the ages of all nodes, for whoever refreshes them by the clock
OOB = mark_safe(' hx-swap-oob="true"')

FLEET_CELLS = ("verdict", "totals", "notices")
ROW_CELLS = ("state", "going", "heard", "flight", "rate", "errors", "times", "spark")
TRAFFIC_CELLS = ("rate", "errors", "times", "spark")
NODE_CELLS = ("state", "heard", "figures", "drain", "breakers", "facts")

MATRIX = "matrix_cells.html"
PROVIDER_CELLS = ("finding", "rest", "strip", "error", "policy")
PEER_CELLS = ("finding", "rest")


def pages_of(key: str) -> tuple[str, ...]:
    """Return the pages with cells that a change of `key` may alter; "node:" stands for every node's page."""
    kind, _, name = key.partition(":")
    if kind == "node" and name:
        return (FLEET, NODE_PAGE + name)
    if kind == "providers" and name:  # also said when a node falls silent, or is heard again
        return (FLEET, NODE_PAGE + name, PROVIDERS)
    pages = {"nodes": (FLEET,), "traces": (FLEET, NODE_PAGE), HEARD: (FLEET, NODE_PAGE, PROVIDERS)}
    return pages.get(key, ())


def render(page: str, key: str, now: datetime) -> str:
    """Return the cells of `page` that a change of `key` may alter, as out-of-band swaps, or ""."""
    if page not in pages_of(key) and not (page.startswith(NODE_PAGE) and NODE_PAGE in pages_of(key)):
        return ""
    if page == PROVIDERS:
        return _providers(key, now)
    return _fleet(key, now) if page == FLEET else _node(page, key, now)


def render_all(page: str, now: datetime) -> str:
    """Return every cell of `page`, as out-of-band swaps; "" for a page that has none."""
    if page == FLEET:
        mesh = nodes.gather(now=now)
        return _page_cells(mesh) + _cells(ROW_CELLS, mesh.nodes, now)
    if page == PROVIDERS:
        found = matrix.read(now=now)
        return _matrix(found) + _cells(("heard",), found.providers.columns, now)
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


def matrix_context(found: Matrix) -> dict[str, Any]:
    """Return what the cells of the providers' page print."""
    return {
        "now": found.now,
        "health_seconds": found.health_seconds,
        "matrix": found,
        "verdict": verdict.of_providers(found),
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


def _providers(key: str, now: datetime) -> str:
    found = matrix.read(now=now)
    if key == HEARD:
        return _cells(("heard",), found.providers.columns, now)
    return _matrix(found, node=key.partition(":")[2])


def _matrix(found: Matrix, *, node: str = "") -> str:
    """Return the breakers of one node or of all, and what all rows amount to."""
    context = matrix_context(found)
    parts = [_cell("verdict", context), _cell("tally", context, MATRIX)]
    for table, names in ((found.providers, PROVIDER_CELLS), (found.peers, PEER_CELLS)):
        parts += [_cell("breaker", {"cell": cell, "now": found.now}, MATRIX) for cell in table.cells(node)]
        for row in table.rows:
            told = {"row": row, "table": table, "now": found.now}
            parts += [_cell(name, told, MATRIX) for name in names]
    return "".join(parts)


def _page_cells(mesh: Gathered) -> str:
    context = fleet_context(mesh)
    return "".join(_cell(name, context) for name in FLEET_CELLS)


def _cells(names: Iterable[str], rows: Iterable[NodeNow | Column], now: datetime) -> str:
    return "".join(_cell(name, {"row": row, "now": now}) for row in rows for name in names)


def _cell(name: str, context: dict[str, Any], template: str = "cells.html") -> SafeString:
    return render_to_string(f"{template}#{name}", {**context, "oob": OOB})
