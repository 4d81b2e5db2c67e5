"""Nodes as the pages show them: who needs attention first, and what is known of each."""

from dataclasses import dataclass
from datetime import datetime

from dashboard.models import DesiredState, Node, NodeLink, ProviderHealth, Trace, Transition
from dashboard.selectors import drains, providers, traces, traffic
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


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNow:
    """Everything a page says of a node's present; `troubled` are the open breakers that say something new."""

    node: Node
    presence: Presence
    readout: Readout | None
    breakers: tuple[ProviderHealth, ...]
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
    def providers(self) -> tuple[ProviderHealth, ...]:
        """Its breakers without those of other nodes."""
        return tuple(each for each in self.breakers if providers.peer_of(each) is None)

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
    """All nodes at one moment, ordered by need for attention, then name."""

    now: datetime
    health_seconds: float
    nodes: tuple[NodeNow, ...]
    whole: traffic.Traffic

    def named(self, name: str) -> NodeNow | None:
        """Return the node of that name."""
        return next((each for each in self.nodes if each.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a node's page tells beside the present."""

    transitions: list[Transition]
    drains: list[DrainStory]
    traces: list[Trace]


def gather(*, now: datetime) -> Gathered:
    """Return all nodes with traffic and breakers; three queries, whatever their number."""
    readings = traffic.read(now=now)
    by_node = readings.by_node()
    nodes = list(Node.objects.select_related("link", "desired"))
    breakers = providers.by_node()
    every = health_seconds(len(nodes))
    presences = _presences(nodes, breakers, now=now, every_seconds=every)
    absent = _absent(presences)
    found = [
        _node_now(
            node,
            presences[node.name],
            breakers.get(node.pk, ()),
            absent=absent,
            now=now,
            flow=by_node.get(node.pk, traffic.NOTHING),
        )
        for node in nodes
    ]
    found.sort(key=lambda each: (ATTENTION.get(each.state, ATTENTION_REST), each.name))
    return Gathered(now=now, health_seconds=every, nodes=tuple(found), whole=readings.whole())


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
    breakers: dict[int, tuple[ProviderHealth, ...]],
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
            len(providers.unexplained(breakers.get(node.pk, ()), absent=absent)),
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
    absent: frozenset[str],
    now: datetime,
    flow: traffic.Traffic,
) -> NodeNow:
    readout = drains.readout_of(node)
    return NodeNow(
        node=node,
        presence=there,
        readout=readout,
        breakers=breakers,
        troubled=providers.unexplained(breakers, absent=absent),
        drain=drains.drain_now(readout),
        order=drains.order_of(node, now=now),
        traffic=flow,
    )
