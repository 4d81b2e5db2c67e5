"""What stands against draining a node: the mesh as it is wanted, for the guards (drain-and-control §2).

A healthy provider is one in the manifest of a node's last hello that no breaker keeps calls from: neither one
that the node reports, nor one that operators want held open. A node is there while it serves and was heard
within the time after which it counts as stale.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from dashboard.models import Node, ProviderHealth
from dashboard.selectors.presence import Composite, health_seconds, presence
from dashboard.selectors.providers import PEER
from meshcore.breaker import BreakerState
from meshcore.capability import Manifest
from meshcore.drain import DrainSource
from meshcore.guards import Blocker, Carried, Member, blockers, carried
from meshcore.override import Action

SERVING = frozenset({Composite.RUNNING, Composite.DEGRADED, Composite.DRAINING, Composite.DRAINED})
"""States from which a node takes calls, as soon as nobody wants it drained."""
REFUSING = frozenset({BreakerState.OPEN.value, BreakerState.HALF_OPEN.value, BreakerState.FORCED_OPEN.value})
MANIFESTS_AT_ONCE = 50  # read together; most drains need those of two nodes
LINK = ("link__closed_at", "link__idle")
DRAIN = ("desired__drain", "readout__drain__source")


def judge(*, name: str, community: str, now: datetime) -> list[Blocker]:
    """Return why the node `name` must not be drained now.

    Four queries, and one for each 50 nodes without what it has. Called under the control head's lock it holds
    for what is written there.
    """
    every = health_seconds(Node.objects.count())
    rows = Node.objects.filter(community=community).values("name", "state", "last_heard_at", *LINK, *DRAIN)
    members = [_member(row, now=now, every_seconds=every) for row in rows]
    carries = _Carries([name, *(each.name for each in members if each.there and not each.drains)], now)
    return blockers(name, members, carries=carries)


class _Carries:
    """Tells of nodes, best asked in the order of `names`, what they could carry."""

    def __init__(self, names: Sequence[str], now: datetime) -> None:
        self._names = names
        self._now = now
        self._found: dict[str, frozenset[Carried]] = {}

    def __call__(self, name: str) -> frozenset[Carried]:
        if name not in self._found:
            place = self._names.index(name)
            self._found |= _read(self._names[place : place + MANIFESTS_AT_ONCE], now=self._now)
        return self._found[name]


def _read(names: Sequence[str], *, now: datetime) -> dict[str, frozenset[Carried]]:
    refused: dict[str, set[str]] = defaultdict(set)
    broken = ProviderHealth.objects.filter(node__name__in=names, state__in=REFUSING)
    for name, key in broken.exclude(key__startswith=PEER).values_list("node__name", "key"):
        refused[name].add(key)
    rows = Node.objects.filter(name__in=names).values_list("name", "manifest", "desired__overrides")
    return {
        name: _carried(manifest, _as_wanted(refused[name], overrides or [], now=now))
        for name, manifest, overrides in rows
    }


def _carried(manifest: dict[str, Any], refused: set[str]) -> frozenset[Carried]:
    offers = msgspec.convert({"node_id": "", **manifest}, Manifest).capabilities
    return carried(offers, is_refused=refused.__contains__)


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


def _member(row: dict[str, Any], *, now: datetime, every_seconds: float) -> Member:
    """Return a node; a drain that nobody here wants counts when its own marker file asks for it."""
    found = presence(
        reported=row["state"],
        breakers_open=0,
        last_heard_at=row["last_heard_at"],
        closed_at=row["link__closed_at"],
        idle=bool(row["link__idle"]),
        now=now,
        every_seconds=every_seconds,
    )
    return Member(
        name=row["name"],
        drains=row["desired__drain"] is not None or row["readout__drain__source"] == DrainSource.LOCAL.value,
        there=found.state in SERVING and not found.stale,
    )
