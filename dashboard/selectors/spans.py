"""Traffic of hours and days: whole hours from their rows, the ends and what is not summed up from minutes.

So it is the same as if every minute were read, at a sixtieth of the rows, and also where minutes are gone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet

from dashboard.models import HourMark, HourRollup, MinuteRollup
from meshcore import histogram

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SPANS = (("1 h", HOUR), ("24 h", 24 * HOUR), ("7 days", 7 * 24 * HOUR))


class Part(NamedTuple):
    """A minute or an hour as it is read; in the order of `_COLUMNS` behind the time."""

    begin: datetime
    node_id: int
    provider: str
    outcome: str
    calls: int
    failovers: int
    counts: dict[str, int]
    histogram_version: int


_COLUMNS = ("node_id", "provider", "outcome", "count", "failovers", "counts", "histogram_version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What went through in a time; figures are None where nothing was counted."""

    requests: int
    errors: int
    failovers: int
    counts: histogram.Counts

    @property
    def error_percent(self) -> float | None:
        """The share of calls without an answer."""
        return 100 * self.errors / self.requests if self.requests else None

    @property
    def failover_percent(self) -> float | None:
        """The share of calls that went on elsewhere."""
        return 100 * self.failovers / self.requests if self.requests else None

    @property
    def p50_ms(self) -> float | None:
        """The median."""
        return histogram.quantile(self.counts, 0.50)

    @property
    def p95_ms(self) -> float | None:
        """What 95 of 100 stay under."""
        return histogram.quantile(self.counts, 0.95)

    @property
    def p99_ms(self) -> float | None:
        """What 99 of 100 stay under."""
        return histogram.quantile(self.counts, 0.99)


def of_node(*, node_id: int, now: datetime) -> dict[str, Span]:
    """Return a node's traffic of each of SPANS, with what is told of the running minute; four queries.

    A span of days begins with a whole hour: it is up to an hour longer than its name.
    """
    until = now + MINUTE
    recent = [_minute(row) for row in _minutes(node_id).filter(minute__gt=now - HOUR, minute__lt=until)]
    parts = read(since=hour_of(now - SPANS[-1][1]), until=until, node_id=node_id)
    longer = ((name, hour_of(now - length)) for name, length in SPANS[1:])
    return {
        SPANS[0][0]: sum_of(recent),
        **{name: sum_of(part for part in parts if part.begin >= since) for name, since in longer},
    }


def read(*, since: datetime, until: datetime, node_id: int | None = None) -> list[Part]:
    """Return the roll-ups from the minute of `since` up to the minute of `until`, of one node when given.

    At most three queries. `since` may be within an hour only while the minutes of that hour are kept.
    """
    begin, end = (moment.replace(second=0, microsecond=0) for moment in (since, until))
    first, last = hour_of(begin + HOUR - MINUTE), max(hour_of(end), hour_of(begin + HOUR - MINUTE))
    dirty = dict(_dirty(first, last, node_id))
    hours = [part for part in _hours(first, last, node_id) if dirty.get((part.node_id, part.begin), True)]
    wanted = Q(minute__gte=begin, minute__lt=min(first, end)) | Q(minute__gte=last, minute__lt=end)
    if dirty:
        told = [hour for _, hour in dirty]
        wanted |= Q(minute__gte=min(told), minute__lt=max(told) + HOUR)
    minutes = map(_minute, _minutes(node_id).filter(wanted))
    return hours + [
        part
        for part in minutes
        if not first <= part.begin < last or (part.node_id, hour_of(part.begin)) in dirty
    ]


def _dirty(
    first: datetime, last: datetime, node_id: int | None
) -> Iterator[tuple[tuple[int, datetime], bool]]:
    """Yield (id of the node, hour) of the rows that lack something, and whether they count all the same.

    The row of a sealed hour does, and its minutes come to it; any other row is only a part of its minutes.
    """
    found = HourMark.objects.filter(dirty=True, hour__gte=first, hour__lt=last)
    if node_id is not None:
        found = found.filter(node_id=node_id)
    for of_node, hour, sealed in found.values_list("node_id", "hour", "sealed"):
        yield (of_node, hour), sealed


def _hours(first: datetime, last: datetime, node_id: int | None) -> Iterator[Part]:
    found = HourRollup.objects.filter(hour__gte=first, hour__lt=last)
    if node_id is not None:
        found = found.filter(node_id=node_id)
    return (Part(*row) for row in found.values_list("hour", *_COLUMNS))


def _minutes(node_id: int | None) -> QuerySet[MinuteRollup, tuple[Any, ...]]:
    found = MinuteRollup.objects.values_list("minute", *_COLUMNS)
    return found if node_id is None else found.filter(node_id=node_id)


def _minute(row: tuple[Any, ...]) -> Part:
    return Part(*row)


def hour_of(moment: datetime) -> datetime:
    """Return when the hour of a moment began."""
    return moment.replace(minute=0, second=0, microsecond=0)


def sum_of(parts: Iterable[Part]) -> Span:
    """Return the sum of parts."""
    requests = errors = failovers = 0
    counts: histogram.Counts = {}
    for part in parts:
        requests += part.calls
        failovers += part.failovers
        errors += part.calls if part.outcome != "ok" else 0
        if part.histogram_version == histogram.VERSION:
            histogram.merge(counts, {int(bucket): n for bucket, n in part.counts.items()})
    return Span(requests=requests, errors=errors, failovers=failovers, counts=counts)
