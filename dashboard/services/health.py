"""The present of a node, as it says it: the only writer of its current state (decision D4).

One conditional UPDATE decides: the connection must count, and (connection, number) must be newer than what is
stored. So a frame that was overtaken, or that an old connection sent, changes nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q

from dashboard.models import Node
from dashboard.selectors.presence import Composite, presence
from dashboard.services import breakers, changes, columns, runs
from dashboard.services.columns import Unfit
from meshcore.frames import Health

VERSION_MAX = 64
SHOWN = ("state", "accepting", "in_flight", "edge", "safe_to_stop", "observed_generation", "runs_more")
LINK = ("link__connection_no", "link__closed_at", "link__idle", "last_heard_at", "readout", "spool")


def apply(*, node: Node, connection_no: int, health: Health, now: datetime) -> bool:
    """Store what a node says of itself; False: the connection doesn't count any more, and nothing changed.

    Raises Unfit for what can't be stored.
    """
    health = columns.clean(health)
    said = _said(health)
    with transaction.atomic():
        before = Node.objects.values(*SHOWN, *LINK).filter(pk=node.pk).first()
        if before is None or before["link__connection_no"] != connection_no:
            return False
        if not _write(node, connection_no, health, said, now):
            return False
        moved = breakers.update(node=node, reports=health.breakers, full=health.full, now=now)
        moved_runs = runs.update(
            node=node, reports=health.runs, full=health.full and not health.runs_more, now=now
        )
        keys = _keys(node, before, {**before, **said}, moved, now=now) + moved_runs.keys(node.name)
        if keys:
            changes.publish(*keys, now=now)
    return True


def _said(health: Health) -> dict[str, Any]:
    readout = health.node
    columns.count("in_flight", readout.in_flight.total)
    columns.count("edge", readout.edge)
    if not 0 <= readout.observed_generation < 1 << 63:
        raise Unfit(f"observed_generation={readout.observed_generation}: expected 0 or more")
    return {
        "state": readout.state.value,
        "accepting": readout.accepting,
        "in_flight": readout.in_flight.total,
        "edge": readout.edge,
        "safe_to_stop": readout.safe_to_stop,
        "observed_generation": readout.observed_generation,
        "readout": columns.plain(readout),
        "spool": columns.plain(health.spool),
        "runs_more": health.runs_more,
    }


def _write(node: Node, connection_no: int, health: Health, said: Mapping[str, Any], now: datetime) -> bool:
    older = Q(health_connection_no__lt=connection_no) | Q(
        health_connection_no=connection_no, health_no__lt=health.no
    )
    version = {"version": health.version[:VERSION_MAX]} if health.version else {}
    written = Node.objects.filter(older, pk=node.pk).update(
        **said, **version, last_heard_at=now, health_connection_no=connection_no, health_no=health.no
    )
    return written == 1


def _keys(
    node: Node, before: Mapping[str, Any], after: Mapping[str, Any], moved: breakers.Moved, *, now: datetime
) -> list[str]:
    """Return what of the pages must be rendered again; ages are refreshed by the clock, not by us."""
    keys = []
    if moved.any or _shown(before) != _shown(after):
        keys.append(f"node:{node.name}")
    if moved.any:
        keys.append(f"providers:{node.name}")
    if moved.listed:
        keys.append("providers")
    if _composite(before, moved.troubled_before, now) is not _composite(
        {**after, "last_heard_at": now}, moved.troubled_after, now
    ):
        keys.append("nodes")
    return keys


def _shown(row: Mapping[str, Any]) -> list[Any]:
    """Return what a page says of a node, without what changes every second by itself."""
    readout = row["readout"]
    work = [entry.get("id") for entry in readout.get("active_work", ())]
    said = [readout.get("drain"), readout.get("problems"), work, row["spool"].get("dropped")]
    return [*(row[name] for name in SHOWN), *said]


def _composite(row: Mapping[str, Any], troubled: int, now: datetime) -> Composite:
    return presence(
        reported=row["state"],
        breakers_open=troubled,
        last_heard_at=row["last_heard_at"],
        closed_at=row["link__closed_at"],
        idle=bool(row["link__idle"]),
        now=now,
        every_seconds=1.0,
    ).state
