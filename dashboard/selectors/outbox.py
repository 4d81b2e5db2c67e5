"""Who may carry out what waits in the outbox: the nodes of a run's log (§2, "Cancel run")."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db.models import Q

from dashboard.models import Node, OutboxRow, OutboxState, Run
from dashboard.selectors.observed import is_away

SENT_AT_ONCE = 32  # orders to one node; the rest goes when it wakes again, after their acknowledgement
PREFIX_CHARACTERS = 6  # of a log's id in the ids of its runs
OWNER_FIRST = timedelta(seconds=3)  # that an order waits for the run's owner before others of its log take it


def carriers(log_prefix: str, *, now: datetime, first: str = "") -> list[Node]:
    """Return the nodes of a log that are there, `first` before the others, by name; two queries."""
    there = _there(log_prefix, now=now)
    return sorted(there, key=lambda node: node.name != first)


def owners(run_ids: Iterable[str]) -> dict[str, str]:
    """Return who owns runs, by name: of those that are known and have an owner; one query."""
    found = Run.objects.filter(run_id__in=list(run_ids)).exclude(owner="")
    return dict(found.values_list("run_id", "owner"))


def _there(log_prefix: str, *, now: datetime) -> list[Node]:
    of_log = Node.objects.select_related("link").filter(log_id__startswith=log_prefix).order_by("name")
    return [node for node in of_log if not is_away(node, now=now)]


def order_of(run_id: str) -> OutboxRow | None:
    """Return the newest order to cancel a run, or None; one query."""
    return OutboxRow.objects.select_related("node").filter(run_id=run_id).order_by("-id").first()


def waiting_for(node: Node, *, connection_no: int, now: datetime) -> list[OutboxRow]:
    """Return what a node shall be sent on this connection: not what another that is there has in hand, nor
    what is fresh and for the owner of its run, who is there, too.
    """
    log_id = Node.objects.values_list("log_id", flat=True).filter(pk=node.pk).first() or ""
    if len(log_id) < PREFIX_CHARACTERS:
        return []
    rows = OutboxRow.objects.select_related("node__link").filter(
        ~Q(node=node, connection_no=connection_no) | Q(node=None),
        state=OutboxState.WAITING.value,
        log_prefix=log_id[:PREFIX_CHARACTERS],
    )
    due = list(rows.order_by("id")[:SENT_AT_ONCE])
    free = [row for row in due if row.node in (None, node) or is_away(row.node, now=now)]
    others = _for_others(free, node, now=now)
    return [row for row in free if row.run_id not in others]


def _for_others(rows: Sequence[OutboxRow], node: Node, *, now: datetime) -> set[str]:
    """Return the runs whose cancelling is for another node, as long as it is fresh; no query for none."""
    fresh = [row.run_id for row in rows if row.node is None and row.created_at + OWNER_FIRST > now]
    elsewhere = {run_id: name for run_id, name in owners(fresh).items() if name != node.name} if fresh else {}
    if not elsewhere:
        return set()
    there = {each.name for each in _there(rows[0].log_prefix, now=now)}
    return {run_id for run_id, name in elsewhere.items() if name in there}
