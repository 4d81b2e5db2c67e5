"""Breakers of a node, now: rows are written only when they changed."""

from collections.abc import Iterable, Sequence
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


def update(*, node: Node, reports: Sequence[BreakerReport], full: bool, now: datetime) -> Moved:
    """Store what a node says of its breakers; with `full` those that it doesn't name are gone.

    A frame that says nothing of breakers costs nothing. Raises columns.Unfit for what can't be stored.
    """
    rows = {report.key: _row(node, report, now) for report in reports}
    if not rows and not full:
        return Moved()
    stored = {row.key: row for row in ProviderHealth.objects.filter(node=node)}
    news = [row for key, row in rows.items() if key not in stored or not _says_the_same(stored[key], row)]
    gone = [row.pk for key, row in stored.items() if full and key not in rows]
    if gone:
        ProviderHealth.objects.filter(pk__in=gone).delete()
    bulk_insert.insert(news, unique=("node", "key"), replacing=(*TELLING, *MOMENTS, "observed_at"))
    kept = {} if full else stored
    return Moved(
        any=bool(news or gone),
        listed=bool(gone) or any(_moves(stored.get(row.key), row) for row in news),
        troubled_before=_troubled(stored.values()),
        troubled_after=_troubled({**kept, **rows}.values()),
    )


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
