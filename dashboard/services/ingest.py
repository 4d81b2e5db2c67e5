"""Telemetry is stored once: one spool, one mark (link-and-telemetry, "Rules").

The mark says how far a spool is committed. In one transaction it moves and what lies behind the old mark is
stored; so whatever is sent again after a lost acknowledgement, a crash or a second connection is stored
exactly once.

    hwm >= to        everything of it is here: acknowledge, store nothing
    hwm < after      there is a gap: rewind, store nothing
    else             store what lies behind hwm, hwm = to
"""

import logging
from dataclasses import dataclass
from datetime import datetime

from django.db import DataError, IntegrityError, transaction

from dashboard.models import Node, SpoolMark
from dashboard.services import changes, drain, ingest_items, runs
from dashboard.services.ingest_items import Kept, Sorted
from meshcore.frames import Item, Rewind, Telemetry, TelemetryAck
from meshcore.spool_entry import UNREADABLE

logger = logging.getLogger(__name__)

KINDS = frozenset({*(kind.__struct_config__.tag for kind in Item.__args__), UNREADABLE})
OTHER = "other"  # kinds of drops that a newer node knows


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """Another connection counts: close this one; nothing was stored."""


def store(
    *, node: Node, connection_no: int, telemetry: Telemetry, now: datetime
) -> TelemetryAck | Rewind | ConnectionLost:
    """Store a frame of telemetry for the connection that counts, and return what to answer.

    Drain steps go first, each in a small transaction of its own that keeps it once: they take the control
    head's lock, which comes before the mark's, and are true whatever becomes of the frame.
    """
    found = ingest_items.sort_out(telemetry, node_id=node.pk, now=now)
    _record_steps(node, found, now=now)
    with transaction.atomic():
        mark = _locked_mark(node, connection_no)
        if mark is None:
            return ConnectionLost()
        if mark.hwm >= telemetry.to:
            return TelemetryAck(to=telemetry.to)
        if mark.hwm < telemetry.after:
            return Rewind(hwm=mark.hwm)
        news = [each for each in found.kept if each.seq > mark.hwm]
        _write(node, news, found, now=now)
        _move(mark, telemetry, refused=len(found.refused), now=now)
        keys = _keys(node, news)
        if keys:
            changes.publish(*keys, now=now)
    if found.refused:
        logger.warning(
            "%s: %d items refused, first: %r", node.name, len(found.refused), found.refused[0].reason
        )
    return TelemetryAck(to=telemetry.to, refused=tuple(found.refused))


def _record_steps(node: Node, found: Sorted, *, now: datetime) -> None:
    for each in list(found.kept):
        if each.step is None:
            continue
        try:
            drain.record_node_step(node=node, item=each.step, received_at=now)
        except ValueError as exc:
            found.kept.remove(each)
            found.refuse(each.seq, exc)


def _locked_mark(node: Node, connection_no: int) -> SpoolMark | None:
    """Return the mark of the spool on this connection, None when the connection doesn't count any more.

    What is locked is the node's link, as a handshake does: while this stores, no other spool of the node can.
    """
    marks = SpoolMark.objects.select_related("node__link").select_for_update(of=("node__link",))
    mine = {"connection_no": connection_no, "node__link__connection_no": connection_no}
    return marks.filter(node=node, **mine).first()


def _write(node: Node, news: list[Kept], found: Sorted, *, now: datetime) -> None:
    """Store items together, or if one of them stops the others, one by one without it."""
    try:
        with transaction.atomic():
            ingest_items.write(news, node_id=node.pk, now=now)
    except (DataError, IntegrityError):
        logger.exception("%s: a batch of %d items is stored one by one", node.name, len(news))
        for each in news:
            _write_one(node, each, found, now=now)


def _write_one(node: Node, each: Kept, found: Sorted, *, now: datetime) -> None:
    try:
        with transaction.atomic():
            ingest_items.write([each], node_id=node.pk, now=now)
    except (DataError, IntegrityError):
        found.refuse(each.seq, "the database refused it")


def _move(mark: SpoolMark, telemetry: Telemetry, *, refused: int, now: datetime) -> None:
    dropped = dict(mark.dropped)
    for kind, count in telemetry.dropped.items():
        known = kind if kind in KINDS else OTHER
        dropped[known] = dropped.get(known, 0) + count
    mark.hwm, mark.dropped, mark.refused, mark.updated_at = telemetry.to, dropped, mark.refused + refused, now
    mark.save(update_fields=["hwm", "dropped", "refused", "updated_at"])  # it is locked: nobody else moved it


def _keys(node: Node, news: list[Kept]) -> list[str]:
    keys = []
    if any(each.trace for each in news):
        keys.append("traces")
    if any(each.sums for each in news):
        keys.append(f"node:{node.name}")
    if any(each.transition for each in news):
        keys.append(f"providers:{node.name}")
    return keys + runs.keys_of([each.run_end.run_id for each in news if each.run_end])
