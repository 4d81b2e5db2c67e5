"""Traffic of all nodes together and of the shown ones: what a page of a thousand nodes can afford."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Sum

from dashboard.models import NodeMinute
from dashboard.selectors.traffic import NOTHING, RECENT_MINUTES, Tally, Traffic, Window

SUMS = ("calls", "errors", "failovers")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetTraffic:
    """The whole, and the nodes that were asked for by their id; those without calls are left out."""

    whole: Traffic
    by_node: dict[int, Traffic]

    def of(self, node_id: int) -> Traffic:
        """Return the traffic of a node."""
        return self.by_node.get(node_id, NOTHING)


def read(*, now: datetime, nodes: Collection[int]) -> FleetTraffic:
    """Return the last minutes; three queries, whatever the number of nodes and of their providers."""
    window = Window.at(now)
    within = NodeMinute.objects.filter(minute__gte=window.minutes[0], minute__lte=window.minutes[-1])
    recent_since = window.minutes[-RECENT_MINUTES]
    whole = Tally()
    for minute, calls, errors, failovers in within.values_list("minute").annotate(*map(Sum, SUMS)):
        whole.add(minute, calls, errors, failovers)
    for counts in within.filter(minute__gte=recent_since).values_list("counts", flat=True):
        whole.merge(counts)
    shown = within.filter(node_id__in=nodes).values_list("node_id", "minute", *SUMS, "counts")
    return FleetTraffic(
        whole=whole.traffic(window) if whole.requests else NOTHING,
        by_node={node_id: tally.traffic(window) for node_id, tally in _by_node(shown, recent_since).items()},
    )


def _by_node(rows: Iterable[tuple[Any, ...]], recent_since: datetime) -> dict[int, Tally]:
    found: dict[int, Tally] = {}
    for node_id, minute, calls, errors, failovers, counts in rows:
        tally = found.setdefault(node_id, Tally())
        tally.add(minute, calls, errors, failovers)
        if minute >= recent_since:
            tally.merge(counts)
    return found
