"""Marks: how far each spool is committed, and what that makes of a frame (link-and-telemetry, "Rules").

    hwm >= to        everything of it is here: acknowledge, store nothing
    hwm < after      there is a gap: rewind, store nothing; so is whatever follows it
    else             store what lies behind hwm, hwm = to

A spool that comes over the link has the number of its connection; one that comes by HTTP has none, 0.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from dashboard.models import Node, NodeLink, SpoolMark
from dashboard.services import bulk_update
from meshcore.frames import Item, Rewind, Telemetry, TelemetryAck
from meshcore.spool_entry import UNREADABLE

BY_HTTP = 0  # instead of the number of a connection
MARKS_MAX = 50  # spools remembered of one node; a new home is a new spool
KINDS = frozenset({*(kind.__struct_config__.tag for kind in Item.__args__), UNREADABLE})
OTHER = "other"  # kinds of drops that a newer node knows


@dataclass(frozen=True, slots=True)
class Source:
    """Where a frame comes from: a connection of the node or, with `BY_HTTP`, a spool of the node."""

    node_id: int
    connection_no: int
    spool_id: str = ""  # by HTTP; over the link the connection tells


class MarkMoved(Exception):
    """Somebody else moved a mark that was ours to move: nothing may be stored."""


@dataclass(slots=True)
class Spool:
    """A spool whose node is locked, while a group is being stored."""

    mark: SpoolMark
    hwm: int
    dropped: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    gap: Rewind | None = None

    def judge(self, telemetry: Telemetry) -> TelemetryAck | Rewind | None:
        """Return the answer to a frame of which nothing is to be stored, None for one that moves the mark."""
        if self.gap is None and self.hwm < telemetry.after:
            self.gap = Rewind(hwm=self.hwm)
        if self.gap is not None:
            return self.gap
        return TelemetryAck(to=telemetry.to) if self.hwm >= telemetry.to else None

    def take(self, telemetry: Telemetry, *, refused: int) -> None:
        """Count a frame in whose items are stored; `refused` of them aren't."""
        self.hwm = telemetry.to
        self.refused += refused
        for kind, count in telemetry.dropped.items():
            known = kind if kind in KINDS else OTHER
            self.dropped[known] = self.dropped.get(known, 0) + count


def introduce(*, node: Node, spool_id: str, now: datetime) -> bool:
    """Make sure that a spool which comes by HTTP has a mark; False: the spool belongs to a link."""
    with transaction.atomic():
        list(NodeLink.objects.select_for_update().filter(node=node))
        mark, new = SpoolMark.objects.get_or_create(
            node=node, spool_id=spool_id, defaults={"updated_at": now, "connection_no": BY_HTTP}
        )
        if new:
            trim(node)
    return mark.connection_no == BY_HTTP


def trim(node: Node) -> None:
    """Forget the marks of spools that the node took longest ago."""
    marks = SpoolMark.objects.filter(node=node)
    kept = marks.order_by("-updated_at", "-id").values_list("id", flat=True)[:MARKS_MAX]
    marks.exclude(id__in=list(kept)).delete()


def locked(sources: Collection[Source]) -> dict[Source, Spool]:
    """Return the spools of those sources that count, in the caller's transaction: two queries for any number.

    What is locked are the nodes' links, in order, as a handshake does: while this transaction lasts, no other
    spool of these nodes can be stored. The marks are read behind that, so they are the present ones.
    """
    nodes = {source.node_id for source in sources}
    links = NodeLink.objects.select_for_update().filter(node_id__in=nodes).order_by("node_id")
    counting = dict(links.values_list("node_id", "connection_no"))
    asked = Q(connection_no__in={source.connection_no for source in sources} - {BY_HTTP})
    asked |= Q(spool_id__in={source.spool_id for source in sources} - {""}, connection_no=BY_HTTP)
    marks = {_source(mark): mark for mark in SpoolMark.objects.filter(asked, node_id__in=nodes)}
    return {
        source: Spool(marks[source], marks[source].hwm)
        for source in sources
        if source in marks and source.node_id in counting
        if source.connection_no in (BY_HTTP, counting[source.node_id])
    }


def _source(mark: SpoolMark) -> Source:
    by_http = mark.connection_no == BY_HTTP
    return Source(mark.node_id, mark.connection_no, mark.spool_id if by_http else "")


def move(spools: Mapping[Source, Spool], *, now: datetime) -> None:
    """Write the marks that moved, in the caller's transaction: one query.

    Raises MarkMoved when one isn't any more what it was when it was read.
    """
    moved = [spool for spool in spools.values() if spool.hwm > spool.mark.hwm]
    rows = [
        (spool.mark.pk, spool.hwm, *_counts(spool), now, spool.mark.connection_no, spool.mark.hwm)
        for spool in moved
    ]
    written = bulk_update.update(
        SpoolMark,
        rows,
        put=("hwm", "dropped", "refused", "updated_at"),
        given=("connection_no", "hwm"),
        only_if="t.connection_no = v.given_connection_no AND t.hwm = v.given_hwm",
    )
    if len(written) < len(rows):
        raise MarkMoved(f"{len(rows) - len(written)} of {len(rows)} marks were moved by somebody else")


def _counts(spool: Spool) -> tuple[dict[str, int], int]:
    dropped = dict(spool.mark.dropped)
    for kind, count in spool.dropped.items():
        dropped[kind] = dropped.get(kind, 0) + count
    return dropped, spool.mark.refused + spool.refused
