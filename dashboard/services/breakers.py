"""Breakers of a node, now: rows are written only when they changed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboard.models import Node, ProviderHealth
from dashboard.selectors.presence import TROUBLED
from dashboard.services import bulk_insert, columns
from meshcore.frames import BreakerReport

KEY_MAX = 200
ERROR_MAX = 500  # characters of an error kept for people; the rest is cut
DRIFT = timedelta(seconds=2)  # a moment that moved by less is the same one, seen over a slow wire
TELLING = ("state", "strikes", "threshold", "backoff_seconds", "last_error")
MOMENTS = ("open_until", "cooling_until", "since")
_TROUBLED = frozenset(state.value for state in TROUBLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What an update changed; troubled counts the breakers that keep calls away because of failures.

    `listed`: one came, went or changed its state, so lists of breakers may have other rows or another order.
    """

    any: bool = False
    listed: bool = False
    troubled_before: int = 0
    troubled_after: int = 0


@dataclass(frozen=True, slots=True)
class Reported:
    """What a node says of its breakers, as rows by key; with `full` those that it doesn't name are gone."""

    node: Node
    rows: Mapping[str, ProviderHealth]
    full: bool


def read(*, node: Node, reports: Sequence[BreakerReport], full: bool, now: datetime) -> Reported:
    """Return what a node says, fit to be stored. Raises columns.Unfit."""
    return Reported(node, {report.key: _row(node, report, now) for report in reports}, full)


def update(reported: Sequence[Reported]) -> list[Moved]:
    """Store what nodes, each once, say of their breakers: three queries for any number of nodes.

    One that says nothing of breakers costs nothing.
    """
    telling = {each.node.pk for each in reported if each.rows or each.full}
    stored: dict[int, dict[str, ProviderHealth]] = {pk: {} for pk in telling}
    for row in ProviderHealth.objects.filter(node_id__in=telling) if telling else ():
        stored[row.node_id][row.key] = row
    found = [_compared(each, stored.get(each.node.pk, {})) for each in reported]
    gone = [row.pk for each in found for row in each.gone]
    if gone:
        ProviderHealth.objects.filter(pk__in=gone).delete()
    news = sorted((row for each in found for row in each.news), key=lambda row: (row.node_id, row.key))
    bulk_insert.insert(news, unique=("node", "key"), replacing=(*TELLING, *MOMENTS, "observed_at"))
    return [each.moved for each in found]


@dataclass(frozen=True, slots=True)
class _Compared:
    news: list[ProviderHealth]
    gone: list[ProviderHealth]
    moved: Moved


def _compared(said: Reported, stored: Mapping[str, ProviderHealth]) -> _Compared:
    rows = said.rows
    if not rows and not said.full:
        return _Compared([], [], Moved())
    news = [row for key, row in rows.items() if key not in stored or not _says_the_same(stored[key], row)]
    gone = [row for key, row in stored.items() if said.full and key not in rows]
    kept = {} if said.full else stored
    moved = Moved(
        any=bool(news or gone),
        listed=bool(gone) or any(_moves(stored.get(row.key), row) for row in news),
        troubled_before=_troubled(stored.values()),
        troubled_after=_troubled({**kept, **rows}.values()),
    )
    return _Compared(news, gone, moved)


def _moves(stored: ProviderHealth | None, said: ProviderHealth) -> bool:
    return stored is None or stored.state != said.state


def _row(node: Node, report: BreakerReport, now: datetime) -> ProviderHealth:
    return ProviderHealth(
        node=node,
        key=columns.key("key", report.key, most=KEY_MAX),
        state=report.state.value,
        strikes=report.strikes,
        threshold=report.threshold,
        backoff_seconds=report.backoff_seconds,
        open_until=columns.until(now, report.seconds_remaining),
        cooling_until=columns.until(now, report.cooling_seconds),
        last_error=report.last_error[:ERROR_MAX],
        since=None if report.since is None else columns.stamp("since", report.since),
        observed_at=now,
    )


def _says_the_same(stored: ProviderHealth, said: ProviderHealth) -> bool:
    return all(getattr(stored, name) == getattr(said, name) for name in TELLING) and all(
        _same_moment(getattr(stored, name), getattr(said, name)) for name in MOMENTS
    )


def _same_moment(one: datetime | None, other: datetime | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= DRIFT


def _troubled(rows: Iterable[ProviderHealth]) -> int:
    return sum(row.state in _TROUBLED for row in rows)
