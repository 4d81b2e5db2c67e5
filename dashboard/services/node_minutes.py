"""Traffic of whole nodes and of the mesh by the minute, added up beside the roll-ups in their transaction."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dashboard.models import MeshMinute, NodeMinute
from dashboard.services import bulk_insert, columns, trace_ids
from dashboard.services.rollups import Sums
from meshcore import histogram

KEPT = timedelta(hours=1)  # pages look back for 15 min; what is told of later than this is only rolled up
TRIM_ROWS = 5000  # at most so many at a time; 1 000 nodes make so many in 5 min
REPLACED = ("calls", "errors", "failovers", "counts")
NODES = bulk_insert.Table(NodeMinute, ["node_id", "minute", *REPLACED])
MESH = bulk_insert.Table(MeshMinute, ["slot", "minute", *REPLACED])


@dataclass(slots=True)
class _Minute:
    calls: int = 0
    errors: int = 0
    failovers: int = 0
    counts: histogram.Counts = field(default_factory=dict)

    def add(self, sums: Sums) -> None:
        calls = histogram.total(sums.counts)
        self.calls += calls
        self.errors += calls if sums.key[-1] != "ok" else 0
        self.failovers += sums.failovers
        histogram.merge(self.counts, sums.counts)

    def add_row(self, calls: int, errors: int, failovers: int, counts: Mapping[str, int]) -> None:
        self.calls += calls
        self.errors += errors
        self.failovers += failovers
        histogram.merge(self.counts, {int(bucket): n for bucket, n in counts.items()})

    def values(self) -> bulk_insert.Row:
        """Return it in the order of `REPLACED`."""
        counts = columns.json_text(dict(sorted(self.counts.items())))
        return (self.calls, self.errors, self.failovers, counts)


def add(sums: Sequence[Sums], *, now: datetime) -> None:
    """Add histograms to the minutes of their nodes and of the mesh, in the caller's transaction.

    Four queries in all, on PostgreSQL one more, for the slot.
    """
    nodes: defaultdict[tuple[int, datetime], _Minute] = defaultdict(_Minute)
    mesh: defaultdict[datetime, _Minute] = defaultdict(_Minute)
    for each in sums:
        node_id, minute = each.key[:2]
        if minute > now - KEPT:
            nodes[node_id, minute].add(each)
            mesh[minute].add(each)
    if mesh:
        _add_to_nodes(nodes)
        _add_to_mesh(mesh, slot=trace_ids.claim_slot())


def _add_to_nodes(minutes: Mapping[tuple[int, datetime], _Minute]) -> None:
    nodes, times = {key[0] for key in minutes}, {key[1] for key in minutes}
    stored = NodeMinute.objects.filter(node_id__in=nodes, minute__in=times)
    for node_id, at, *row in stored.values_list("node_id", "minute", *REPLACED):
        if (node_id, at) in minutes:
            minutes[node_id, at].add_row(*row)
    stamp = columns.stamp_adapter()
    rows = [(key[0], stamp(key[1]), *minutes[key].values()) for key in sorted(minutes)]
    NODES.put(rows, unique=("node", "minute"), replacing=REPLACED)


def _add_to_mesh(minutes: Mapping[datetime, _Minute], *, slot: int) -> None:
    stored = MeshMinute.objects.filter(minute__in=list(minutes), slot=slot)
    for at, *row in stored.values_list("minute", *REPLACED):
        minutes[at].add_row(*row)
    stamp = columns.stamp_adapter()
    rows = [(slot, stamp(at), *minutes[at].values()) for at in sorted(minutes)]
    MESH.put(rows, unique=("minute", "slot"), replacing=REPLACED)


def trim(*, now: datetime) -> int:
    """Delete rows older than an hour, of each kind at most `TRIM_ROWS`; returns the larger number."""
    return max(_trim(model, now=now) for model in (NodeMinute, MeshMinute))


def _trim(model: type[NodeMinute | MeshMinute], *, now: datetime) -> int:
    old = model.objects.filter(minute__lt=now - KEPT).values_list("id", flat=True)[:TRIM_ROWS]
    deleted, _ = model.objects.filter(id__in=list(old)).delete()
    return deleted
