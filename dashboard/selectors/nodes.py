"""Nodes as the pages show them: who needs attention first, and what is known of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dashboard.models import DesiredState, Node, NodeLink, ProviderHealth, Trace, Transition
from dashboard.selectors import drains, fleet_traffic, providers, traces, traffic
from dashboard.selectors.drains import DrainStory
from dashboard.selectors.presence import (
    ATTENTION,
    ATTENTION_REST,
    Composite,
    Presence,
    health_seconds,
    presence,
)
from meshcore.drain import Readout

ABSENT = frozenset(
    {Composite.UNREACHABLE, Composite.STOPPING, Composite.STOPPED, Composite.IDLE, Composite.NEVER_SEEN}
)
CLOCK_SKEW_SECONDS = 2.0  # more than this is worth a word (link-and-telemetry, "Clocks")
RECENT_TRACES = 10
PAGE_ROWS = 100  # nodes on one page of the fleet; a row takes about half a millisecond to render
UNREAD = ("manifest", "note", "desired__aliases", "desired__overrides")  # of no use in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNow:
    """Everything a page says of a node's present; `troubled` are the open breakers that say something new.

    `traffic` is known of the nodes that are shown, `breakers` of one that is shown alone; `told` counts them.
    """

    node: Node
    presence: Presence
    readout: Readout | None
    breakers: tuple[ProviderHealth, ...]
    told: providers.Told
    troubled: tuple[ProviderHealth, ...]
    drain: drains.DrainNow | None
    order: drains.Order
    traffic: traffic.Traffic

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
        desired: DesiredState | None = getattr(self.node, "desired", None)
        return desired.aliases if desired else None

    @property
    def drains(self) -> bool:
        """Whether it shall drain: what the button offers to change and to end. A local drain ends locally."""
        return self.order.drains


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All nodes at one moment, ordered by need for attention, then name; `shown` are those asked for.

    `having` are the ids of the nodes that told of each troubled breaker, in trouble or not.
    """

    now: datetime
    health_seconds: float
    nodes: tuple[NodeNow, ...]
    shown: tuple[NodeNow, ...]
    whole: traffic.Traffic
    having: Mapping[str, frozenset[int]]

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
    alone = show if isinstance(show, str) else None
    found = Node.objects.select_related("link", "desired")
    nodes = list(found.defer(*UNREAD) if isinstance(show, slice) else found)
    every = health_seconds(len(nodes))
    troubled = providers.troubled()
    presences = _presences(nodes, troubled, now=now, every_seconds=every)
    nodes.sort(key=lambda node: (ATTENTION.get(presences[node.name].state, ATTENTION_REST), node.name))
    shown = nodes[show] if isinstance(show, slice) else [n for n in nodes if alone in (None, n.name)]
    ids = {node.pk for node in shown}
    flow = fleet_traffic.read(now=now, nodes=ids)
    told = providers.told_by_node()
    breakers = {} if isinstance(show, slice) else providers.by_node(None if alone is None else ids)
    absent = _absent(presences)
    rows = tuple(
        _node_now(
            node,
            presences[node.name],
            breakers.get(node.pk, ()),
            told=told.get(node.pk, providers.TOLD_NOTHING),
            troubled=providers.unexplained(troubled.get(node.pk, ()), absent=absent),
            now=now,
            flow=flow.of(node.pk),
        )
        for node in nodes
    )
    return Gathered(
        now=now,
        health_seconds=every,
        nodes=rows,
        shown=tuple(row for row in rows if row.node.pk in ids),
        whole=flow.whole,
        having=providers.having_any({each.key for some in troubled.values() for each in some}),
    )


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


def _presences(
    nodes: list[Node],
    troubled: dict[int, tuple[ProviderHealth, ...]],
    *,
    now: datetime,
    every_seconds: float,
) -> dict[str, Presence]:
    """Judge twice: a peer's open breaker makes no node degraded when that peer is known to be away."""
    calm = {node.name: presence_of(node, 0, now=now, every_seconds=every_seconds) for node in nodes}
    absent = _absent(calm)
    return {
        node.name: presence_of(
            node,
            len(providers.unexplained(troubled.get(node.pk, ()), absent=absent)),
            now=now,
            every_seconds=every_seconds,
        )
        for node in nodes
    }


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


def _absent(presences: dict[str, Presence]) -> frozenset[str]:
    return frozenset(name for name, each in presences.items() if each.state in ABSENT)


def _node_now(
    node: Node,
    there: Presence,
    breakers: tuple[ProviderHealth, ...],
    *,
    told: providers.Told,
    troubled: tuple[ProviderHealth, ...],
    now: datetime,
    flow: traffic.Traffic,
) -> NodeNow:
    readout = drains.readout_of(node)
    return NodeNow(
        node=node,
        presence=there,
        readout=readout,
        breakers=breakers,
        told=told,
        troubled=troubled,
        drain=drains.drain_now(readout),
        order=drains.order_of(node, now=now),
        traffic=flow,
    )
