"""Hour rows: each the sum of its minutes, made again whenever one of those has changed.

    minutes told -> dirty -> make: row = sum of its minutes -> clean
    clean, 48 h old -> seal: its minutes are deleted, and its mark
    told of late, when there is a row without a mark -> dirty and sealed -> make: added to the row, deleted

Every step is one transaction about one node's hour, under the lock that storing that node's telemetry takes:
so no minute is counted twice, and none is deleted that isn't in its row.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import QuerySet

from dashboard.models import HourMark, HourRollup, MinuteRollup, NodeLink
from dashboard.selectors.spans import HOUR, hour_of
from dashboard.services import bulk_insert
from meshcore import histogram

SETTLE = timedelta(minutes=2)  # after an hour's end its last minutes are mostly told: it is made once
MINUTES_KEPT = timedelta(hours=48)
AT_ONCE = 20  # hours made, and sealed, in a turn; 2-5 ms each, with 20 providers

UNIQUE = ("node", "hour", "provider", "capability", "outcome")
Key = tuple[str, str, str]
"""(provider, capability, outcome)."""


def mark_dirty(minutes: Iterable[tuple[int, datetime]]) -> None:
    """Note in the caller's transaction that minutes of nodes have changed: one statement."""
    hours = sorted({(node_id, hour_of(minute)) for node_id, minute in minutes})
    table, rows = (connection.ops.quote_name(each._meta.db_table) for each in (HourMark, HourRollup))
    outlived = f"EXISTS (SELECT 1 FROM {rows} WHERE node_id = %s AND hour = %s)"  # noqa: S608 - our names
    places = ", ".join([f"(%s, %s, %s, {outlived})"] * len(hours))
    statement = (
        f"INSERT INTO {table} (node_id, hour, dirty, sealed) VALUES {places}"  # noqa: S608 - our names
        f" ON CONFLICT (node_id, hour) DO UPDATE SET dirty = %s WHERE NOT {table}.dirty"
    )
    adapt = connection.ops.adapt_datetimefield_value
    values = [
        value for node_id, hour in hours for value in (node_id, adapt(hour), True, node_id, adapt(hour))
    ]
    with connection.cursor() as cursor:
        cursor.execute(statement, [*values, True])


def make(*, now: datetime) -> int:
    """Make the rows of hours that are over and dirty, at most `AT_ONCE`; returns how many."""
    over = HourMark.objects.filter(dirty=True, hour__lte=now - HOUR - SETTLE).order_by("hour")
    return sum(_make_one(mark) for mark in list(over[:AT_ONCE]))


def seal(*, now: datetime) -> int:
    """Delete the minutes of hours that are made and older than `MINUTES_KEPT`; returns of how many hours."""
    old = HourMark.objects.filter(dirty=False, hour__lte=now - HOUR - MINUTES_KEPT)
    return sum(_seal_one(mark) for mark in list(old.order_by("hour")[:AT_ONCE]))


def _make_one(found: HourMark) -> bool:
    with transaction.atomic():
        mark = _locked(found, dirty=True)
        if mark is None:
            return False
        rows = _sums(mark)
        bulk_insert.insert(
            rows, unique=UNIQUE, replacing=("count", "failovers", "counts", "histogram_version")
        )
        if mark.sealed:
            _delete_minutes(mark)
        else:
            HourMark.objects.filter(pk=mark.pk).update(dirty=False)
    return True


def _seal_one(found: HourMark) -> bool:
    with transaction.atomic():
        mark = _locked(found, dirty=False)
        if mark is None:
            return False
        _delete_minutes(mark)
    return True


def _delete_minutes(mark: HourMark) -> None:
    _minutes(mark).delete()
    HourMark.objects.filter(pk=mark.pk).delete()


def _locked(found: HourMark, **state: bool) -> HourMark | None:
    """Return the mark as it is now, when it still is so, while no telemetry of its node can be stored."""
    list(NodeLink.objects.select_for_update().filter(node_id=found.node_id))  # none: nobody tells any more
    return HourMark.objects.filter(pk=found.pk, **state).first()


def _minutes(mark: HourMark) -> QuerySet[MinuteRollup]:
    return MinuteRollup.objects.filter(
        node_id=mark.node_id, minute__gte=mark.hour, minute__lt=mark.hour + HOUR
    )


def _sums(mark: HourMark) -> list[HourRollup]:
    """Return an hour's rows: sums of its minutes, with the row itself where that has outlived them."""
    parts: list[MinuteRollup | HourRollup] = list(_minutes(mark))
    if mark.sealed:
        parts += HourRollup.objects.filter(node_id=mark.node_id, hour=mark.hour)
    sums: dict[Key, HourRollup] = {}
    for part in parts:
        key = (part.provider, part.capability, part.outcome)
        _add(sums.setdefault(key, _empty(mark, key)), part)
    return [sums[key] for key in sorted(sums)]


def _empty(mark: HourMark, key: Key) -> HourRollup:
    provider, capability, outcome = key
    return HourRollup(
        node_id=mark.node_id,
        hour=mark.hour,
        provider=provider,
        capability=capability,
        outcome=outcome,
        counts={},
        histogram_version=histogram.VERSION,
    )


def _add(total: HourRollup, part: MinuteRollup | HourRollup) -> None:
    if part.histogram_version == histogram.VERSION:  # buckets of others don't add up with ours
        for bucket, count in part.counts.items():
            total.counts[bucket] = total.counts.get(bucket, 0) + count
    total.count += part.count
    total.failovers += part.failovers
