"""Has a node done what it was asked? By its own word only: silence is never taken for obedience."""

import enum
from datetime import datetime

from dashboard.models import DesiredState, Node, NodeLink
from dashboard.selectors.drains import order_of
from dashboard.selectors.presence import Composite, health_seconds, presence

AWAY = frozenset({Composite.UNREACHABLE, Composite.NEVER_SEEN, Composite.IDLE})


class Observed(enum.StrEnum):
    """How far an order has come."""

    OBSERVED = "observed"
    PENDING = "pending"
    NOT_ACKNOWLEDGED = "not_acknowledged"
    UNREACHABLE = "unreachable"


def observed(*, node: Node, now: datetime) -> Observed:
    """Return how far the newest desired state of `node` has come; three queries, fewer with them selected."""
    if is_away(node, now=now):
        return Observed.UNREACHABLE
    order = order_of(node, now=now)
    if not order.pending:
        return Observed.OBSERVED
    return Observed.NOT_ACKNOWLEDGED if order.overdue else Observed.PENDING


def fresh(*, name: str) -> Node | None:
    """Return a node with its link and desired state as they are now, or None; one query."""
    return Node.objects.select_related("link", "desired").filter(name=name).first()


def desired_of(node: Node) -> DesiredState:
    """Return what is asked of a node; of one that was never asked anything, an empty one."""
    found: DesiredState | None = getattr(node, "desired", None)
    return found or DesiredState(node=node)


def is_away(node: Node, *, now: datetime) -> bool:
    link: NodeLink | None = getattr(node, "link", None)
    found = presence(
        reported=node.state,
        breakers_open=0,
        last_heard_at=node.last_heard_at,
        closed_at=link.closed_at if link else None,
        idle=link.idle if link else False,
        now=now,
        every_seconds=health_seconds(Node.objects.count()),
    )
    return found.state in AWAY
