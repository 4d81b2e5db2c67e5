"""Breakers now, and how they got there."""

from collections.abc import Iterable

from dashboard.models import Node, ProviderHealth, Transition
from dashboard.selectors.presence import TROUBLED

PEER = "node:"  # breakers of other nodes are kept under this and the node's name (bus-and-breaker §2)
HISTORY_ROWS = 12
_TROUBLED = frozenset(state.value for state in TROUBLED)


def by_node() -> dict[int, tuple[ProviderHealth, ...]]:
    """Return every breaker by the id of its node, ordered by key; one query."""
    found: dict[int, list[ProviderHealth]] = {}
    for breaker in ProviderHealth.objects.order_by("node_id", "key"):
        found.setdefault(breaker.node_id, []).append(breaker)
    return {node_id: tuple(breakers) for node_id, breakers in found.items()}


def history(*, node: Node) -> list[Transition]:
    """Return the newest transitions of a node's breakers; one query, index transition_by_node."""
    return list(node.transitions.order_by("-at")[:HISTORY_ROWS])


def is_troubled(breaker: ProviderHealth) -> bool:
    """Return whether a breaker keeps calls away because of failures; what an operator forced is a wish."""
    return breaker.state in _TROUBLED


def peer_of(breaker: ProviderHealth) -> str | None:
    """Return the name of the node that a breaker guards calls to, or None for a provider's own breaker."""
    return breaker.key.removeprefix(PEER) if breaker.key.startswith(PEER) else None


def unexplained(breakers: Iterable[ProviderHealth], *, absent: frozenset[str]) -> tuple[ProviderHealth, ...]:
    """Return the troubled breakers that say something new: a peer known to be away does not."""
    return tuple(each for each in breakers if is_troubled(each) and peer_of(each) not in absent)
