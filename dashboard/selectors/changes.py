"""The change feed, and the changes that time alone makes."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import F, Q

from dashboard.models import Change, Node, ProviderHealth
from dashboard.selectors import providers
from dashboard.selectors.presence import TROUBLED, Composite, health_seconds, judge

UNACKNOWLEDGED_SECONDS = 10.0  # a generation that waits longer is shown as not acknowledged
_LOOK = ("pk", "name", "state", "last_heard_at", "link__closed_at", "link__idle")  # in the order of _Row
MISSED_MAX = 99  # more is more than anybody reads


@dataclass(frozen=True, slots=True)
class Look:
    """How a node looks at a moment; `explained` counts its open breakers of peers known to be away."""

    state: Composite
    stale: bool
    unacknowledged: bool
    explained: int = 0
    heard_at: datetime | None = None

    @property
    def by_time(self) -> tuple[bool, bool, bool, int]:
        """What of it changes by time, or with another node; the rest changes with a row of its own, and
        whoever writes that says so.
        """
        return self.state is Composite.UNREACHABLE, self.stale, self.unacknowledged, self.explained

    def was_silent(self, before: "Look", *, seconds: float) -> bool:
        """Return whether nothing was heard for so long since `before`, even if it was by now."""
        if self.heard_at is None or before.heard_at is None:
            return False
        return (self.heard_at - before.heard_at).total_seconds() >= seconds


class _Row(NamedTuple):
    pk: int
    name: str
    state: str
    last_heard_at: datetime | None
    closed_at: datetime | None
    idle: bool | None


def latest_id() -> int:
    """Return the id of the newest change, 0 when there is none."""
    return Change.objects.order_by("-id").values_list("id", flat=True).first() or 0


def after(cursor: int, *, limit: int) -> list[tuple[int, str]]:
    """Return (id, key) of up to `limit` changes behind `cursor`, oldest first."""
    return list(Change.objects.filter(id__gt=cursor).order_by("id").values_list("id", "key")[:limit])


def is_kept(since: int) -> bool:
    """Return whether all changes behind the id `since` are still there; two queries."""
    oldest = Change.objects.order_by("id").values_list("id", flat=True).first()
    return oldest is not None and oldest - 1 <= since <= latest_id()


def missed(since: int, keys: Collection[str]) -> int:
    """Return how many changes of `keys` came behind the id `since`; at most `MISSED_MAX` are counted.

    Behind what is already trimmed nobody knows: that counts as one at least.
    """
    known = Change.objects.order_by("id").values_list("id", flat=True).first()
    unknown = known is not None and since < known - 1
    rows = Change.objects.filter(id__gt=since, key__in=keys).values_list("id", flat=True)[:MISSED_MAX]
    return max(len(rows), int(unknown))


def looks(*, now: datetime) -> dict[str, Look]:
    """Return how each node looks at `now`, in three queries: asked every second, of a thousand nodes, too."""
    asked_before = now - timedelta(seconds=UNACKNOWLEDGED_SECONDS)
    pending = Q(desired__generation__gt=F("observed_generation"), desired__changed_at__lte=asked_before)
    overdue = set(Node.objects.filter(pending).order_by().values_list("pk", flat=True))
    rows = list(map(_Row._make, Node.objects.order_by("name").values_list(*_LOOK)))
    every_seconds = health_seconds(len(rows))
    found = ProviderHealth.objects.filter(state__in=TROUBLED).order_by()
    breakers = list(found.values_list("node_id", "key"))
    explained = Counter[int]()

    def unexplained(absent: frozenset[str]) -> Counter[int]:
        told = [(pk, providers.is_explained(key, absent=absent)) for pk, key in breakers]
        explained.update(pk for pk, known in told if known)
        return Counter(pk for pk, known in told if not known)

    there = judge(rows, unexplained, now=now, every_seconds=every_seconds)
    return {
        row.name: Look(
            there[row.pk].state, there[row.pk].stale, row.pk in overdue, explained[row.pk], row.last_heard_at
        )
        for row in rows
    }
