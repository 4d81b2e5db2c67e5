"""What stands against draining a node: the mesh as it is wanted, for the guards (drain-and-control §2).

A healthy provider is one in the manifest of a node's last hello that no breaker keeps calls from: neither one
that the node reports, nor one that operators want held open. A node is there while it serves and was heard
within the time after which it counts as stale.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from dashboard.models import DesiredState, Node, NodeLink, ProviderHealth
from dashboard.selectors.presence import Composite, health_seconds, presence
from dashboard.selectors.providers import PEER
from meshcore.breaker import BreakerState
from meshcore.capability import Manifest
from meshcore.drain import DrainSource
from meshcore.guards import Blocker, Member, blockers, carried
from meshcore.override import Action

SERVING = frozenset({Composite.RUNNING, Composite.DEGRADED, Composite.DRAINING, Composite.DRAINED})
"""States from which a node takes calls, as soon as nobody wants it drained."""
REFUSING = frozenset({BreakerState.OPEN.value, BreakerState.HALF_OPEN.value, BreakerState.FORCED_OPEN.value})


def judge(*, node: Node, now: datetime) -> list[Blocker]:
    """Return why `node` must not be drained now; three queries.

    Called under the control head's lock it holds for what is written there.
    """
    community = Node.objects.select_related("link", "desired").filter(community=node.community)
    return blockers(node.name, _members(list(community), now=now))


def _members(nodes: list[Node], *, now: datetime) -> list[Member]:
    every = health_seconds(Node.objects.count())
    refused = _refused(nodes)
    return [_member(node, refused[node.pk], now=now, every_seconds=every) for node in nodes]


def _refused(nodes: Iterable[Node]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {node.pk: set() for node in nodes}
    broken = ProviderHealth.objects.filter(state__in=REFUSING).exclude(key__startswith=PEER)
    for node_id, key in broken.values_list("node_id", "key"):
        found.get(node_id, set()).add(key)
    return found


def _member(node: Node, refused: set[str], *, now: datetime, every_seconds: float) -> Member:
    desired: DesiredState | None = getattr(node, "desired", None)
    refused = _as_wanted(refused, desired.overrides if desired else [], now=now)
    manifest = msgspec.convert({"node_id": node.name, **node.manifest}, Manifest)
    return Member(
        name=node.name,
        drains=(desired is not None and desired.drain is not None) or _drains_locally(node),
        there=_is_there(node, now=now, every_seconds=every_seconds),
        carries=carried(manifest.capabilities, is_refused=refused.__contains__),
    )


def _as_wanted(refused: set[str], overrides: list[dict[str, Any]], *, now: datetime) -> set[str]:
    """Return the keys that refuse once the node does what operators want of its breakers."""
    wanted = set(refused)
    for override in overrides:
        expires_at = override["expires_at"]
        if expires_at is not None and datetime.fromisoformat(expires_at) <= now:
            continue
        change = wanted.add if override["action"] == Action.FORCE_OPEN.value else wanted.discard
        change(override["key"])
    return wanted


def _drains_locally(node: Node) -> bool:
    """Whether its marker file asks for it: the only drain that nobody here wants and that counts."""
    drain = node.readout.get("drain") or {}
    return bool(drain.get("source") == DrainSource.LOCAL.value)


def _is_there(node: Node, *, now: datetime, every_seconds: float) -> bool:
    link: NodeLink | None = getattr(node, "link", None)
    found = presence(
        reported=node.state,
        breakers_open=0,
        last_heard_at=node.last_heard_at,
        closed_at=link.closed_at if link else None,
        idle=link.idle if link else False,
        now=now,
        every_seconds=every_seconds,
    )
    return found.state in SERVING and not found.stale
