"""The breakers of all nodes as two tables: providers by node, and who sees whom. The worst stands top left.

However large the mesh, a table has at most `COLUMNS_MAX` nodes and `ROWS_MAX` things; of the nodes without a
column each row says how many there are, and how they see it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dashboard.models import Node, ProviderHealth, Transition
from dashboard.selectors import providers, strips, testimony
from dashboard.selectors.matrix_rows import Cell, Row, Table, Wanted, provider_of
from dashboard.selectors.nodes import presence_of
from dashboard.selectors.presence import ABSENT, health_seconds
from dashboard.selectors.shortlist import Column, Shortlist, shortlist, tellers
from dashboard.selectors.testimony import Finding
from meshcore.breaker import BreakerState

COLUMNS_MAX = 40  # nodes; with 40 rows 1 600 cells, about a megabyte of page
ROWS_MAX = 40
PEERS_MAX = 20  # both ways: who sees whom grows with the square
UNHEARD = "not heard"
BADNESS = (  # in which states are counted in words
    BreakerState.OPEN,
    BreakerState.HALF_OPEN,
    BreakerState.SUSPECT,
    BreakerState.FORCED_OPEN,
    BreakerState.FORCED_CLOSED,
    BreakerState.CLOSED,
)

STATES = {state.value: state for state in BreakerState}

Seen = dict[str, dict[int, BreakerState]]
Told = Mapping[tuple[int, str], ProviderHealth]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """All of it at one moment; `findings`, `states` and `unheard` are of all providers, asked for or not."""

    now: datetime
    health_seconds: float
    providers: Table
    peers: Table
    findings: Mapping[str, Finding]  # the worst first
    states: Counter[BreakerState]  # at nodes that are heard
    unheard: tuple[str, ...]  # nodes that have told of providers and are not heard now
    ids: Mapping[str, int]  # of all nodes, by their names
    cut: bool  # there are more breakers than are ever looked at

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.ids)

    @property
    def names(self) -> list[str]:
        """All providers, without their models."""
        return sorted({provider_of(key) for key in self.findings})


def read(*, now: datetime, wanted: Wanted | None = None) -> Matrix:
    """Return the breakers of all nodes; four queries, whatever their number."""
    wanted = wanted or Wanted()
    columns, every_seconds = _columns(now)
    states = providers.states()
    own, peers = _split(states, columns)
    chosen = shortlist(
        own,
        columns,
        phrases=testimony.PROVIDER,
        fits=wanted.fits,
        most_columns=COLUMNS_MAX,
        most_keys=ROWS_MAX,
    )
    chosen_peers = shortlist(
        peers,
        columns,
        phrases=testimony.PEER,
        fits=replace(wanted, provider="").fits,
        most_columns=PEERS_MAX,
        most_keys=PEERS_MAX,
        away={
            f"{providers.PEER}{each.name}": each.presence.state for each in columns.values() if _away(each)
        },
    )
    told = providers.told([chosen.asked, chosen_peers.asked])
    table = _table(chosen, own, columns, told)
    changes = providers.last_changes(keys=chosen.keys, since=strips.window(now))
    return Matrix(
        now=now,
        health_seconds=every_seconds,
        providers=replace(table, rows=_with_strips(table.rows, own, columns, changes, now=now)),
        peers=_table(chosen_peers, peers, columns, told),
        findings=chosen.findings,
        states=_tally(own, columns),
        unheard=tuple(sorted(columns[pk].name for pk in tellers(own) if not columns[pk].fresh)),
        ids={column.name: pk for pk, column in columns.items()},
        cut=len(states) == providers.STATES_MAX,
    )


def _columns(now: datetime) -> tuple[dict[int, Column], float]:
    """Return all nodes by id, and how often each speaks."""
    fields = ("name", "state", "last_heard_at", "link__closed_at", "link__idle", "link__node_id")
    nodes = list(Node.objects.select_related("link").only(*fields))
    every = health_seconds(len(nodes))
    columns = {}
    for node in nodes:
        columns[node.pk] = Column.of(node, presence_of(node, 0, now=now, every_seconds=every))
    return columns, every


def _away(column: Column) -> bool:
    return column.presence.state in ABSENT


def _split(states: Iterable[tuple[int, str, str]], columns: Mapping[int, Column]) -> tuple[Seen, Seen]:
    """Return the states by key and node: of providers, and of peers. A node may be gone by now."""
    own: Seen = {}
    peers: Seen = {}
    for node_id, key, state in states:
        if node_id in columns:
            into = peers if key.startswith(providers.PEER) else own
            into.setdefault(key, {})[node_id] = STATES[state]
    return own, peers


def _tally(seen: Seen, columns: Mapping[int, Column]) -> Counter[BreakerState]:
    return Counter(state for states in seen.values() for pk, state in states.items() if columns[pk].fresh)


def _table(chosen: Shortlist, seen: Seen, columns: Mapping[int, Column], told: Told) -> Table:
    return Table(
        columns=chosen.columns,
        rows=tuple(_row(key, chosen, seen[key], columns, told) for key in chosen.keys),
        more_columns=chosen.more_columns,
        more_rows=chosen.more_keys,
    )


def _row(
    key: str,
    chosen: Shortlist,
    states: Mapping[int, BreakerState],
    columns: Mapping[int, Column],
    told: Told,
) -> Row:
    finding = chosen.findings[key]
    cells = tuple(
        Cell(
            column=column,
            key=key,
            breaker=told.get((column.node.pk, key)),
            odd=column.name in finding.odd,
        )
        for column in chosen.columns
    )
    hidden = states.keys() - {column.node.pk for column in chosen.columns}
    rest = Counter(states[pk].value if columns[pk].fresh else UNHEARD for pk in hidden)
    return Row(
        key=key,
        cells=cells,
        finding=finding,
        rest=_counted(rest),
        says=_error_to_tell(cells),
        tellers=states.keys(),
    )


def _counted(rest: Counter[str]) -> str:
    return ", ".join(f"{rest[word]} {word.replace('_', ' ')}" for word in (*BADNESS, UNHEARD) if rest[word])


def _error_to_tell(cells: Sequence[Cell]) -> Cell | None:
    """Return the cell with the newest error, of those in trouble now if there are any."""
    told = [cell for cell in cells if cell.breaker and cell.breaker.last_error]
    return max(told, key=lambda cell: (cell.troubled, _since(cell), cell.column.name), default=None)


def _since(cell: Cell) -> float:
    since = cell.breaker.since if cell.breaker else None
    return since.timestamp() if since else 0.0


def _with_strips(
    rows: Iterable[Row],
    seen: Seen,
    columns: Mapping[int, Column],
    changes: Sequence[Transition],
    *,
    now: datetime,
) -> tuple[Row, ...]:
    known_from = changes[-1].at if len(changes) == providers.CHANGES_MAX else None
    by_key: dict[str, list[strips.Change]] = {}
    for change in changes:
        if change.node_id in columns:
            by_key.setdefault(change.key, []).append(_change(change, columns[change.node_id].name))
    return tuple(
        replace(
            row,
            strip=strips.strip(
                by_key.get(row.key, ()),
                _standing(row, seen[row.key], columns),
                now=now,
                known_from=known_from,
            ),
        )
        for row in rows
    )


def _change(change: Transition, node: str) -> strips.Change:
    return strips.Change(
        node=node,
        at=change.at,
        from_state=BreakerState(change.from_state),
        to_state=BreakerState(change.to_state),
        count=change.count,
    )


def _standing(
    row: Row, states: Mapping[int, BreakerState], columns: Mapping[int, Column]
) -> dict[str, strips.Standing]:
    """Return what nodes say that is wrong: a closed breaker draws nothing."""
    since = {cell.column.name: cell.breaker.since for cell in row.cells if cell.breaker}
    wrong = [columns[pk] for pk, state in states.items() if state is not BreakerState.CLOSED]
    return {
        column.name: strips.Standing(
            state=states[column.node.pk], since=since.get(column.name), heard_at=column.node.last_heard_at
        )
        for column in wrong
        if column.node.last_heard_at is not None
    }
