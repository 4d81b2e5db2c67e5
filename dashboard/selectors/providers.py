"""Breakers now, and how they got there."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_

from django.db.models import Count, Q

from dashboard.models import Node, ProviderHealth, Transition
from dashboard.selectors.presence import TROUBLED

PEER = "node:"  # breakers of other nodes are kept under this and the node's name (bus-and-breaker §2)
HISTORY_ROWS = 12
STATES_MAX = 100_000  # 5 000 nodes with 20 each; read in 0.2 s, and more is no mesh for one matrix
CHANGES_MAX = 2_000  # of all strips of a page together; what is older than these is shown as not read
_CHANGE = ("node_id", "key", "at", "from_state", "to_state", "count")
_TROUBLED = frozenset(state.value for state in TROUBLED)


@dataclass(frozen=True, slots=True)
class Told:
    """How many breakers a node tells of, and how many of them guard its own providers."""

    breakers: int = 0
    providers: int = 0


TOLD_NOTHING = Told()


def by_node(nodes: Collection[int] | None = None) -> dict[int, tuple[ProviderHealth, ...]]:
    """Return the breakers of `nodes` (None: of all) by the id of their node, ordered by key; one query."""
    found = ProviderHealth.objects.order_by("node_id", "key")
    return _by_node(found if nodes is None else found.filter(node_id__in=nodes))


def troubled() -> dict[int, tuple[ProviderHealth, ...]]:
    """Return the troubled breakers by the id of their node, ordered by key; one query."""
    return _by_node(ProviderHealth.objects.filter(state__in=_TROUBLED).order_by("node_id", "key"))


def told_by_node(nodes: Collection[int]) -> dict[int, Told]:
    """Return how many breakers each of these nodes tells of, by its id; one query."""
    own = Count("pk", filter=~Q(key__startswith=PEER))
    found = ProviderHealth.objects.filter(node_id__in=nodes).order_by()
    rows = found.values_list("node_id").annotate(told=Count("pk"), own=own)
    return {node_id: Told(count, providers) for node_id, count, providers in rows}


def having_any(keys: Collection[str], *, but: Collection[int]) -> dict[str, int]:
    """Return how many nodes, but for those with the ids `but`, tell of each of these breakers; one query.

    A node that is forgotten has no breakers any more.
    """
    found = ProviderHealth.objects.filter(key__in=keys).exclude(node_id__in=but).order_by()
    return dict(found.values_list("key").annotate(nodes=Count("pk")))


def _by_node(breakers: Iterable[ProviderHealth]) -> dict[int, tuple[ProviderHealth, ...]]:
    found: dict[int, list[ProviderHealth]] = {}
    for breaker in breakers:
        found.setdefault(breaker.node_id, []).append(breaker)
    return {node_id: tuple(some) for node_id, some in found.items()}


def history(*, node: Node) -> list[Transition]:
    """Return the newest transitions of a node's breakers; one query, index transition_by_node."""
    return list(node.transitions.order_by("-at")[:HISTORY_ROWS])


def is_troubled(breaker: ProviderHealth) -> bool:
    """Return whether a breaker keeps calls away because of failures; what an operator forced is a wish."""
    return breaker.state in _TROUBLED


def unexplained(breakers: Iterable[ProviderHealth], *, absent: frozenset[str]) -> tuple[ProviderHealth, ...]:
    """Return the troubled breakers that say something new: a peer known to be away does not."""
    return tuple(each for each in breakers if is_troubled(each) and not is_explained(each.key, absent=absent))


def is_explained(key: str, *, absent: frozenset[str]) -> bool:
    """Return whether a breaker guards calls to a peer that is known to be away."""
    return key.startswith(PEER) and key.removeprefix(PEER) in absent


def having(key: str) -> list[Node]:
    """Return the nodes that told of the breaker `key` or of its provider, all nodes when none did.

    A provider's model has a breaker of its own from its first call on: until then its provider stands for it.
    """
    provider = key if key.startswith(PEER) else key.partition("/")[0]
    found = list(Node.objects.filter(providers__key__in={key, provider}).distinct().order_by("name"))
    return found or list(Node.objects.order_by("name"))


def states() -> list[tuple[int, str, str]]:
    """Return (id of the node, key, state) of the breakers of all nodes, at most `STATES_MAX`; one query."""
    return list(ProviderHealth.objects.order_by("pk").values_list("node_id", "key", "state")[:STATES_MAX])


def told(asked: Iterable[tuple[Collection[int], Collection[str]]]) -> dict[tuple[int, str], ProviderHealth]:
    """Return the breakers of each pair of nodes and keys, by node and key; one query."""
    where = reduce(or_, (Q(node_id__in=nodes, key__in=keys) for nodes, keys in asked), Q(pk__in=()))
    return {(each.node_id, each.key): each for each in ProviderHealth.objects.filter(where)}


def last_changes(*, keys: Collection[str], since: datetime) -> list[Transition]:
    """Return the newest transitions of `keys`, at most `CHANGES_MAX`; one query, index transition_by_time."""
    found = Transition.objects.filter(at__gte=since, key__in=keys)
    return list(found.order_by("-at").only(*_CHANGE)[:CHANGES_MAX])
