"""The present of a node, as it says it: the only writer of its current state (decision D4).

One conditional UPDATE decides, for all nodes that speak at a time: the connection must count, and
(connection, number) must be newer than what is stored. So a frame that was overtaken, or that an old
connection sent, changes nothing.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import DataError, IntegrityError, connection, transaction

from dashboard.models import Node
from dashboard.selectors.presence import Composite, presence
from dashboard.services import breakers, bulk_update, changes, columns, runs
from dashboard.services.columns import Unfit
from meshcore.frames import Health

logger = logging.getLogger(__name__)

VERSION_MAX = 64
SHOWN = ("state", "accepting", "safe_to_stop", "observed_generation", "runs_more")
FIGURES = ("in_flight", "edge")
SAID = (*SHOWN, *FIGURES, "readout", "spool")
LINK = ("link__connection_no", "link__closed_at", "link__idle", "last_heard_at", "readout", "spool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a node says of itself over one of its connections, when that came, and how often nodes speak."""

    node: Node
    connection_no: int
    health: Health
    now: datetime
    every_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class _Read:
    """The same, fit to be stored."""

    said: Said
    values: dict[str, Any]  # by column
    breakers: breakers.Reported
    runs: runs.Told


def apply(*, said: Sequence[Said]) -> list[bool | Exception]:
    """Store what nodes say of themselves, all in one transaction with a fixed number of queries.

    False: the connection doesn't count any more, and nothing changed. Unfit stands for what can't be stored;
    a word that the database refuses costs no other.
    """
    answers: dict[int, bool | Exception] = {}
    rest = {at: _read(each) for at, each in enumerate(said)}
    answers |= {at: each for at, each in rest.items() if isinstance(each, Unfit)}
    readable = {at: each for at, each in rest.items() if isinstance(each, _Read)}
    while readable:
        once = {each.said.node.pk: at for at, each in reversed(readable.items())}  # each node's first word
        turn = {at: readable.pop(at) for at in sorted(once.values())}
        answers |= dict(zip(turn, _apply_together(list(turn.values())), strict=True))
    return [answers[at] for at in range(len(said))]


def _read(said: Said) -> _Read | Unfit:
    try:
        health = columns.clean(said.health)
        reported = breakers.read(node=said.node, reports=health.breakers, full=health.full, now=said.now)
        told = runs.read(
            node=said.node, reports=health.runs, full=health.full and not health.runs_more, now=said.now
        )
        return _Read(replace(said, health=health), _said(health), reported, told)
    except Unfit as exc:
        return exc


def _apply_together(words: Sequence[_Read]) -> Sequence[bool | Exception]:
    try:
        return _commit(words)
    except (DataError, IntegrityError) as exc:
        if len(words) == 1:
            return [exc]
        logger.exception("the health of %d nodes is stored one by one", len(words))
        return [answer for each in words for answer in _apply_together([each])]


def _commit(words: Sequence[_Read]) -> list[bool]:
    with transaction.atomic():
        before = _before({each.said.node.pk for each in words})
        counting = [each for each in words if _counts(each.said, before.get(each.said.node.pk))]
        written = _write(counting, before)
        new = [each for each in counting if each.said.node.pk in written]
        moved = breakers.update([each.breakers for each in new])
        moved_runs = runs.update([each.runs for each in new])
        keys = [
            key
            for each, change, change_of_runs in zip(new, moved, moved_runs, strict=True)
            for key in _keys(each, before[each.said.node.pk], change)
            + change_of_runs.keys(each.said.node.name)
        ]
        if keys:
            changes.publish(*dict.fromkeys(keys), now=words[-1].said.now)
    return [each.said.node.pk in written for each in words]


def _before(nodes: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return what is stored of nodes, which are locked in order, so that no two processes meet crosswise."""
    if connection.vendor == "postgresql":
        list(Node.objects.select_for_update(no_key=True).filter(pk__in=nodes).order_by("pk").values("pk"))
    found = Node.objects.filter(pk__in=nodes).values("pk", "version", *SHOWN, *FIGURES, *LINK)
    return {row["pk"]: row for row in found}


def _counts(said: Said, before: Mapping[str, Any] | None) -> bool:
    return before is not None and before["link__connection_no"] == said.connection_no


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


def _write(words: Sequence[_Read], before: Mapping[int, Mapping[str, Any]]) -> set[int]:
    """Write words that are newer than what is stored, and return whose."""
    rows = []
    for each in words:
        said = each.said
        version = said.health.version[:VERSION_MAX] or before[said.node.pk]["version"]
        stand = (said.now, said.connection_no, said.health.no)
        rows.append((said.node.pk, *(each.values[name] for name in SAID), version, *stand))
    return bulk_update.update(
        Node,
        rows,
        put=(*SAID, "version", "last_heard_at", "health_connection_no", "health_no"),
        only_if="(t.health_connection_no, t.health_no) < (v.put_health_connection_no, v.put_health_no)",
    )


def _keys(word: _Read, before: Mapping[str, Any], moved: breakers.Moved) -> list[str]:
    """Return what of the pages must be rendered again; ages are refreshed by the clock, not by us."""
    node, now = word.said.node, word.said.now
    after = {**before, **word.values, "last_heard_at": now}
    was = _composite(before, moved.troubled_before, word.said)
    is_now = _composite(after, moved.troubled_after, word.said)
    turned = was is not is_now  # maybe between heard and not, which all that it said before depends on
    keys = []
    if turned or moved.any or _shown(before) != _shown(after):
        keys.append(f"node:{node.name}")
    elif _figures(before) != _figures(after):
        keys.append(f"figures:{node.name}")
    if turned or moved.any:
        keys.append(f"providers:{node.name}")
    if moved.listed:
        keys.append("providers")
    if turned:
        keys.append("nodes")
    if before["runs_more"] != after["runs_more"]:
        keys.append(f"runs:{node.name}")
    return keys


def _shown(row: Mapping[str, Any]) -> list[Any]:
    """Return what a page says of a node, without what changes every second by itself.

    Of a node that drains, what is in flight is the progress of its drain.
    """
    readout, spool = row["readout"], row["spool"]
    said = [readout.get("drain"), readout.get("problems"), spool.get("dropped"), spool.get("reset_at")]
    if readout.get("drain"):
        said += [*_figures(row), [entry.get("id") for entry in readout.get("active_work", ())]]
    return [*(row[name] for name in SHOWN), *said]


def _figures(row: Mapping[str, Any]) -> list[Any]:
    return [row[name] for name in FIGURES]


def _composite(row: Mapping[str, Any], troubled: int, said: Said) -> Composite:
    return presence(
        reported=row["state"],
        breakers_open=troubled,
        last_heard_at=row["last_heard_at"],
        closed_at=row["link__closed_at"],
        idle=bool(row["link__idle"]),
        now=said.now,
        every_seconds=said.every_seconds,
    ).state
