"""Nodes as the pages show them: who needs attention first, and what is known of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboard.models import DesiredState, Node, NodeLink, ProviderHealth, Trace, Transition
from dashboard.selectors import drains, fleet_traffic, node_rows, providers, traces, traffic
from dashboard.selectors.drains import DrainStory
from dashboard.selectors.node_rows import NodeRow
from dashboard.selectors.presence import (
    ABSENT,
    ATTENTION,
    ATTENTION_REST,
    Composite,
    Presence,
    health_seconds,
    judge,
    presence,
)
from meshcore.drain import Readout

CLOCK_SKEW_SECONDS = 2.0  # more than this is worth a word (link-and-telemetry, "Clocks")
RECENT_TRACES = 10
PAGE_ROWS = 50  # nodes on one page of the fleet, as of other lists; a row takes 0.4 ms to render


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNow:
    """Everything a page says of a node's present; `troubled` are the open breakers that say something new.

    `traffic`, and how many breakers it told of, is known of the nodes that are shown; its `breakers`, and all
    that is `stored`, of one that is shown alone.
    """

    node: NodeRow
    presence: Presence
    readout: Readout | None
    breakers: tuple[ProviderHealth, ...]
    told: providers.Told
    troubled: tuple[ProviderHealth, ...]
    drain: drains.DrainNow | None
    order: drains.Order
    traffic: traffic.Traffic
    stored: Node | None = None

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name

    @property
    def state(self) -> Composite:
        """The one word for it."""
        return self.presence.state

    @property
    def heard(self) -> bool:
        """Whether its figures are of now; what a silent node said last is no figure of now."""
        return self.state not in ABSENT

    @property
    def in_flight(self) -> int:
        """Calls it works on or passes on."""
        return self.node.in_flight + self.node.edge

    @property
    def aliases(self) -> dict[str, list[str]] | None:
        """The table of aliases that the dashboard wants it to go by, None: its own file's."""
        desired: DesiredState | None = getattr(self.stored, "desired", None)
        return desired.aliases if desired else None

    @property
    def drains(self) -> bool:
        """Whether it shall drain: what the button offers to change and to end. A local drain ends locally."""
        return self.order.drains


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All nodes at one moment, ordered by need for attention, then name; `shown` are those asked for.

    `having` counts the nodes that are heard and told of each troubled breaker, in trouble or not.
    """

    now: datetime
    health_seconds: float
    nodes: tuple[NodeNow, ...]
    shown: tuple[NodeNow, ...]
    whole: traffic.Traffic
    having: Mapping[str, int]

    def named(self, name: str) -> NodeNow | None:
        """Return the node of that name."""
        return next((each for each in self.nodes if each.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a node's page tells beside the present."""

    transitions: list[Transition]
    drains: list[DrainStory]
    traces: list[Trace]


def gather(*, now: datetime, show: slice | str | None = None) -> Gathered:
    """Return all nodes; those of `show` (a part of the order, or one name; None: all) with their traffic.

    The same number of queries whatever their number. The breakers are read of all shown, but not of a slice.
    """
    rows = node_rows.read()
    every = health_seconds(len(rows))
    open_breakers, troubled = providers.troubled(), dict[int, tuple[ProviderHealth, ...]]()

    def unexplained(absent: frozenset[str]) -> dict[int, int]:
        troubled.update(_unexplained(open_breakers, absent=absent))
        return {pk: len(some) for pk, some in troubled.items()}

    there = judge(rows, unexplained, now=now, every_seconds=every)
    absent = {pk for pk, each in there.items() if each.state in ABSENT}
    rows.sort(key=lambda row: (ATTENTION.get(there[row.pk].state, ATTENTION_REST), row.name))
    shown = _shown(rows, show, now=now)
    found = tuple(
        _node_now(row, there[row.pk], troubled.get(row.pk, ()), shown=shown, now=now) for row in rows
    )
    keys = {each.key for some in open_breakers.values() for each in some}
    return Gathered(
        now=now,
        health_seconds=every,
        nodes=found,
        shown=tuple(node for node in found if node.node.pk in shown.ids),
        whole=shown.flow.whole,
        having=providers.having_any(keys, but=absent),
    )


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is read of the shown nodes alone."""

    ids: frozenset[int]
    flow: fleet_traffic.FleetTraffic
    told: Mapping[int, providers.Told]
    breakers: Mapping[int, tuple[ProviderHealth, ...]]
    stored: Node | None


def _shown(rows: Sequence[NodeRow], show: slice | str | None, *, now: datetime) -> _Shown:
    some = rows[show] if isinstance(show, slice) else [row for row in rows if show in (None, row.name)]
    ids = frozenset(row.pk for row in some)
    alone = isinstance(show, str)
    return _Shown(
        ids=ids,
        flow=fleet_traffic.read(now=now, nodes=ids),
        told=providers.told_by_node(ids),
        breakers={} if isinstance(show, slice) else providers.by_node(ids if alone else None),
        stored=Node.objects.select_related("desired").filter(pk__in=ids).first() if alone else None,
    )


def _unexplained(
    troubled: Mapping[int, tuple[ProviderHealth, ...]], *, absent: frozenset[str]
) -> dict[int, tuple[ProviderHealth, ...]]:
    """Leave out a peer's open breaker when that peer is known to be away: it makes no node degraded."""
    found = {pk: providers.unexplained(some, absent=absent) for pk, some in troubled.items()}
    return {pk: some for pk, some in found.items() if some}


def names() -> list[str]:
    """Return the names of all nodes, for the choices of a filter; one query."""
    return list(Node.objects.order_by("name").values_list("name", flat=True))


def ids() -> dict[str, tuple[int, ...]]:
    """Return the names of all nodes with their ids, also of those that had the name before; one query."""
    found: dict[str, list[int]] = {}
    present: set[str] = set()
    for name, pk, forgotten_at in Node.everyone.order_by("name", "-pk").values_list(
        "name", "pk", "forgotten_at"
    ):
        found.setdefault(name, []).append(pk)
        present |= {name} if forgotten_at is None else set()
    return {name: tuple(pks) for name, pks in found.items() if name in present}


def past_of(*, node: Node) -> Past:
    """Return a node's history for its page; four queries."""
    return Past(
        transitions=providers.history(node=node),
        drains=drains.stories_of(node=node),
        traces=traces.newest_of(node=node, rows=RECENT_TRACES),
    )


def presence_of(node: Node, breakers_open: int, *, now: datetime, every_seconds: float) -> Presence:
    """Return whether a node, selected with its link, is there."""
    link: NodeLink | None = getattr(node, "link", None)
    return presence(
        reported=node.state,
        breakers_open=breakers_open,
        last_heard_at=node.last_heard_at,
        closed_at=link.closed_at if link else None,
        idle=link.idle if link else False,
        now=now,
        every_seconds=every_seconds,
    )


def _node_now(
    row: NodeRow,
    there: Presence,
    troubled: tuple[ProviderHealth, ...],
    *,
    shown: _Shown,
    now: datetime,
) -> NodeNow:
    readout = row.readout
    return NodeNow(
        node=row,
        presence=there,
        readout=readout,
        breakers=shown.breakers.get(row.pk, ()),
        told=shown.told.get(row.pk, providers.TOLD_NOTHING),
        troubled=troubled,
        drain=drains.drain_now(readout),
        order=row.order(now=now),
        traffic=shown.flow.of(row.pk),
        stored=shown.stored if row.pk in shown.ids else None,
    )
