"""The change feed, and the changes that time alone makes."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, F, Q

from dashboard.models import Change, Node, ProviderHealth
from dashboard.selectors.presence import TROUBLED, Composite, health_seconds, presence

UNACKNOWLEDGED_SECONDS = 10.0  # a generation that waits longer is shown as not acknowledged
_LOOK = ("pk", "name", "state", "last_heard_at", "link__closed_at", "link__idle")
MISSED_MAX = 99  # more is more than anybody reads


@dataclass(frozen=True, slots=True)
class Look:
    """How a node looks at a moment."""

    state: Composite
    stale: bool
    unacknowledged: bool

    @property
    def by_time(self) -> tuple[bool, bool, bool]:
        """What of it changes by time alone; the rest changes with a row, and whoever writes that says so."""
        return self.state is Composite.UNREACHABLE, self.stale, self.unacknowledged


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
    open_breakers = ProviderHealth.objects.filter(state__in=TROUBLED).order_by()
    troubled = dict(open_breakers.values_list("node_id").annotate(Count("pk")))
    overdue = set(Node.objects.filter(pending).order_by().values_list("pk", flat=True))
    rows = list(Node.objects.order_by("name").values_list(*_LOOK))
    every_seconds = health_seconds(len(rows))
    found = {}
    for node_id, name, state, last_heard_at, closed_at, idle in rows:
        there = presence(
            reported=state,
            breakers_open=troubled.get(node_id, 0),
            last_heard_at=last_heard_at,
            closed_at=closed_at,
            idle=bool(idle),
            now=now,
            every_seconds=every_seconds,
        )
        found[name] = Look(there.state, there.stale, node_id in overdue)
    return found
