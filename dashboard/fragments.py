"""Live cells: what is pushed into open pages, rendered once for all who look.

    page "fleet"        cells of the first fifty nodes, the verdict, the totals, the notices
    page "fleet:<n>"    the same with the n-th fifty
    page "node:<name>"  the cells of that node's own page
    page "providers"    the breakers of every node that has a column, and what each row amounts to
    page "drains"       the drains that are on, and those of the newest page
    page "runs"         the runs that live, those of the newest page, and how many live
    page "run:<id>"     how that run stands, and who owned which part of it

The pages include the same templates, so a pushed cell is byte for byte the cell of a fresh page, but for the
attribute that makes htmx swap it. Nothing here knows who looks.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from dashboard.page_keys import (
    DRAINS,
    FIGURES,
    HEARD,
    NODE_PAGE,
    PROVIDERS,
    RUN_PAGE,
    RUNS,
    SUMMARY,
    concerning,
    fleet_number,
)
from dashboard.selectors import drain_list, drain_record, matrix, nodes, runs, spans, traffic, verdict
from dashboard.selectors.matrix import Matrix
from dashboard.selectors.nodes import Gathered, NodeNow
from dashboard.selectors.run_ribbon import ribbon
from dashboard.selectors.runs import RunRow
from dashboard.sheet import Sheet

FLEET_CELLS = ("verdict", "totals", "notices")
ROW_CELLS = ("state", "going", "heard", "flight", "rate", "errors", "times", "spark")
TRAFFIC_CELLS = ("rate", "errors", "times", "spark")
FIGURE_CELLS = ("flight", *TRAFFIC_CELLS)
NODE_CELLS = ("state", "heard", "problems", "figures", "drain", "breakers", "facts")
CLOCK_CELLS = ("figures", "drain", "facts")  # with what grows all the time: the age of work, the spool

MATRIX = "matrix_cells.html"
PROVIDER_CELLS = ("finding", "rest", "strip", "error", "policy")
PEER_CELLS = ("finding", "rest")

DRAIN = "drain_cells.html"
DRAIN_CELLS = ("standing", "left", "outcome")

RUN = "run_cells.html"
RUN_CELLS = ("status", "owner", "epoch", "chunks", "lasted")
RUN_PAGE_CELLS = ("status", "measures", "ribbon", "check")


def render(page: str, keys: Sequence[str], now: datetime) -> dict[str, str]:
    """Return, for each key of `concerning`, the cells of `page` that it may have altered, as swaps, or "".

    What they are made of is read once for all keys.
    """
    wanted = [key for key in keys if key == SUMMARY or concerning(page, [key])]
    if not wanted:
        return dict.fromkeys(keys, "")
    sheets = _sheets(page, wanted, now)
    return {key: sheets[key].text() if key in sheets else "" for key in keys}


def render_all(page: str, now: datetime) -> str:
    """Return every cell of `page`, as out-of-band swaps; "" for a page that has none."""
    if page.startswith((NODE_PAGE, RUN_PAGE)):
        return render(page, [page], now)[page]
    sheet = Sheet(now)
    if fleet_number(page):
        mesh = nodes.gather(now=now, show=rows_of(page))
        _summary(sheet, mesh)
        sheet.rows(ROW_CELLS, mesh.shown)
    elif page == PROVIDERS:
        found = matrix.read(now=now)
        _matrix(sheet, found)
        sheet.rows(("heard",), found.providers.columns)
    elif page == RUNS:
        _runs(sheet, now)
    elif page == DRAINS:
        _drains(sheet, now)
    return sheet.text()


def _sheets(page: str, keys: Sequence[str], now: datetime) -> dict[str, Sheet]:
    sheets = {key: Sheet(now) for key in keys}
    if page == PROVIDERS:
        found = matrix.read(now=now)
        for key, sheet in sheets.items():
            _providers(sheet, found, key)
    elif page == DRAINS:
        for key, sheet in sheets.items():
            _drains(sheet, now, node=key.partition(":")[2])
    elif page == RUNS:
        for sheet in sheets.values():
            _runs(sheet, now)
    elif page.startswith(RUN_PAGE):
        for sheet in sheets.values():
            _run(sheet, page.removeprefix(RUN_PAGE), now)
    elif fleet_number(page):
        mesh = nodes.gather(now=now, show=rows_of(page))
        for key, sheet in sheets.items():
            _fleet(sheet, mesh, key)
    elif page.startswith(NODE_PAGE):
        name = page.removeprefix(NODE_PAGE)
        mesh = nodes.gather(now=now, show=name)
        for key, sheet in sheets.items():
            _node(sheet, name, key, mesh)
    return sheets


def rows_of(page: str) -> slice:
    """Return which part of the fleet's order a page of it shows."""
    first = (fleet_number(page) - 1) * nodes.PAGE_ROWS
    return slice(first, first + nodes.PAGE_ROWS)


def fleet_context(mesh: Gathered) -> dict[str, Any]:
    """Return what the fleet's cells print."""
    return {
        "now": mesh.now,
        "health_seconds": mesh.health_seconds,
        "rows": mesh.shown,
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
        "present": drain_record.present(node_id=row.node.pk),
        "by_provider": readings.by_provider(),
        "spans": spans.of_node(node_id=row.node.pk, now=mesh.now),
    }


def matrix_context(found: Matrix) -> dict[str, Any]:
    """Return what the cells of the providers' page print."""
    return {
        "now": found.now,
        "health_seconds": found.health_seconds,
        "matrix": found,
        "verdict": verdict.of_providers(found),
    }


def _fleet(sheet: Sheet, mesh: Gathered, key: str) -> None:
    kind, _, name = key.partition(":")
    if key == SUMMARY:
        _summary(sheet, mesh)
    elif key == HEARD:
        sheet.rows(("heard",), mesh.shown)
    elif key == FIGURES:
        sheet.rows(TRAFFIC_CELLS, mesh.shown)
    elif name:
        cells = FIGURE_CELLS if kind == FIGURES else ROW_CELLS
        sheet.rows(cells, [row for row in mesh.shown if row.name == name])


def _node(sheet: Sheet, name: str, key: str, mesh: Gathered) -> None:
    if key in (NODE_PAGE + name, f"runs:{name}"):
        _run_rows(sheet, runs.of_node(name=name, now=mesh.now).rows, but="owner")
    if key != f"runs:{name}":
        _node_itself(sheet, key, mesh)


def _node_itself(sheet: Sheet, key: str, mesh: Gathered) -> None:
    kind, colon, _ = key.partition(":")
    some = {HEARD: ("heard",), FIGURES: ("figures",) if colon else CLOCK_CELLS}.get(kind, NODE_CELLS)
    for row in mesh.shown:
        present = drain_record.present(node_id=row.node.pk) if "drain" in some else None
        sheet.rows(some, [row], present=present)


def _providers(sheet: Sheet, found: Matrix, key: str) -> None:
    if key == HEARD:
        sheet.rows(("heard",), found.providers.columns)
    else:
        _matrix(sheet, found, node=key.partition(":")[2])


def _matrix(sheet: Sheet, found: Matrix, *, node: str = "") -> None:
    """Add the breakers that one node's word may alter or all, and what all rows amount to."""
    context = matrix_context(found)
    sheet.cell("verdict", context)
    sheet.cell("tally", context, template=MATRIX)
    for table, names in ((found.providers, PROVIDER_CELLS), (found.peers, PEER_CELLS)):
        for cell in table.cells(found.ids.get(node)):
            sheet.cell("breaker", {"cell": cell}, cell.column.name, cell.key, template=MATRIX)
        for row in table.rows:
            for name in names:
                if name != "rest" or table.more_columns:
                    sheet.cell(name, {"row": row, "table": table}, row.key, template=MATRIX)


def _drains(sheet: Sheet, now: datetime, *, node: str = "") -> None:
    for each in drain_list.live(now=now, node=node):
        for name in DRAIN_CELLS:
            sheet.cell(name, {"each": each}, str(each.drain.pk), template=DRAIN)


def _runs(sheet: Sheet, now: datetime) -> None:
    sheet.cell("tally", {"tally": runs.tally(now=now)}, template=RUN)
    _run_rows(sheet, runs.shown(now=now))


def _run_rows(sheet: Sheet, rows: Iterable[RunRow], *, but: str = "") -> None:
    for each in rows:
        for name in (name for name in RUN_CELLS if name != but):
            sheet.cell(name, {"each": each}, each.run.run_id, template=RUN)


def _run(sheet: Sheet, run_id: str, now: datetime) -> None:
    each = runs.named(run_id=run_id, now=now)
    if each is not None:
        context = {"each": each, "ribbon": ribbon(each.run)}
        for name in RUN_PAGE_CELLS:
            sheet.cell(name, context, run_id, template=RUN)


def _summary(sheet: Sheet, mesh: Gathered) -> None:
    context = fleet_context(mesh)
    for name in FLEET_CELLS:
        sheet.cell(name, context)
