"""Which nodes may know of each other: those of a community that share a capability and are there.

A `Directory` is read once for all links of a process. Whom a node is told of comes from it without the
database: the 128 that follow it in the circle of all names, so that in a large mesh every node is known by as
many others, and one node that comes or goes changes the answer of few.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, islice
from typing import Any

import msgspec
from django.db.models import F

from dashboard.models import Node
from dashboard.selectors.presence import Composite, health_seconds, presence
from meshcore.capability import Manifest, parse_manifest
from meshcore.errors import FrameError
from meshcore.peers import PEERS_MAX, fitting, reachable_at

THERE = frozenset(
    {
        Composite.RUNNING,
        Composite.DEGRADED,
        Composite.JOINING,
        Composite.DRAINING,
        Composite.DRAINED,
        Composite.STOPPING,
    }
)
"""The states of nodes that others may be told of; who is drained may be back any moment."""

Kind = tuple[str, frozenset[str]]
"""A community and the names of the capabilities that are offered there: who has the same knows the same."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node that is there, as of its connection `connection_no`; its manifest is what others are told."""

    manifest: Manifest
    kind: Kind
    has_address: bool  # others can come to it
    connection_no: int

    def is_of(self, row: Mapping[str, Any]) -> bool:
        """Return whether the row is of the same connection, so that its manifest is the same."""
        return (self.connection_no, self.kind[0]) == (row["connection_no"], row["community"])

    def now(self, row: Mapping[str, Any]) -> "Member":
        """Return the same member with its present drain state."""
        draining = not row["accepting"]
        if self.manifest.draining == draining:
            return self
        return replace(self, manifest=msgspec.structs.replace(self.manifest, draining=draining))


@dataclass(frozen=True, slots=True)
class Directory:
    """All nodes that are there, by name."""

    members: Mapping[str, Member] = field(default_factory=dict)
    _circles: dict[Kind, list[str]] = field(default_factory=dict, compare=False, repr=False)

    def known_to(self, name: str) -> dict[str, Manifest] | None:
        """Return whom a node is told of, at most `PEERS_MAX`; None for one that isn't there itself."""
        member = self.members.get(name)
        if member is None:
            return None
        circle = self._circle(member.kind)
        begin = bisect_right(circle, name)
        others = (other for other in chain(circle[begin:], circle[:begin]) if other != name)
        return {other: self.members[other].manifest for other in islice(others, PEERS_MAX)}

    def _circle(self, kind: Kind) -> list[str]:
        """Return the names of all that a node of this kind may know, in order."""
        if kind not in self._circles:
            community, offers = kind
            self._circles[kind] = sorted(
                name
                for name, member in self.members.items()
                if member.kind[0] == community and member.kind[1] & offers and member.has_address
            )
        return self._circles[kind]


def read(before: Directory, *, now: datetime) -> Directory:
    """Return the directory at `now`, in two queries; only connections that `before` lacks cost a manifest."""
    rows = _rows()
    there = [row for row in rows if _is_there(row, len(rows), now)]
    known = {
        row["name"]: member.now(row)
        for row in there
        if (member := before.members.get(row["name"])) is not None and member.is_of(row)
    }
    manifests = _manifests(row["name"] for row in there if row["name"] not in known)
    new = {row["name"]: _introduced(row, manifests) for row in there if row["name"] not in known}
    return Directory(known | new)


def _rows() -> list[dict[str, Any]]:
    nodes = Node.objects.annotate(
        connection_no=F("link__connection_no"), closed_at=F("link__closed_at"), idle=F("link__idle")
    )
    return list(
        nodes.values(
            *("name", "community", "state", "accepting", "last_heard_at"),
            *("connection_no", "closed_at", "idle"),
        )
    )


def _is_there(row: Mapping[str, Any], nodes: int, now: datetime) -> bool:
    state = presence(
        reported=row["state"],
        breakers_open=0,  # trouble behind a node keeps nobody from knowing it
        last_heard_at=row["last_heard_at"],
        closed_at=row["closed_at"],
        idle=bool(row["idle"]),
        now=now,
        every_seconds=health_seconds(nodes),
    ).state
    return state in THERE


def _manifests(names: Iterable[str]) -> dict[str, Any]:
    return dict(Node.objects.filter(name__in=list(names)).values_list("name", "manifest"))


def _introduced(row: Mapping[str, Any], manifests: Mapping[str, Any]) -> Member:
    """Return a node as others may know it: its name and its community are ours to say, not its own."""
    name, community = row["name"], row["community"]
    said = _read_manifest(manifests.get(name))
    manifest = msgspec.structs.replace(said, node_id=name, community=community, draining=not row["accepting"])
    kind = community, frozenset(offer.name for offer in said.capabilities)
    return Member(fitting(manifest), kind, reachable_at(said.url), row["connection_no"])


def _read_manifest(raw: Any) -> Manifest:
    """Return what a node said of itself; what can't be read offers nothing and has no address."""
    try:
        return parse_manifest(raw or {})
    except FrameError:
        return parse_manifest({})
