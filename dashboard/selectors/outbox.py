"""Who may carry out what waits in the outbox: the nodes of a run's log (§2, "Cancel run")."""

from datetime import datetime

from django.db.models import Q

from dashboard.models import Node, OutboxRow, OutboxState
from dashboard.selectors.observed import is_away

SENT_AT_ONCE = 32  # orders to one node; the rest goes when it wakes again, after their acknowledgement
PREFIX_CHARACTERS = 6  # of a log's id in the ids of its runs


def carriers(log_prefix: str, *, now: datetime) -> list[Node]:
    """Return the nodes of a log that are there, by name; two queries."""
    of_log = Node.objects.select_related("link").filter(log_id__startswith=log_prefix).order_by("name")
    return [node for node in of_log if not is_away(node, now=now)]


def waiting_for(node: Node, *, connection_no: int, now: datetime) -> list[OutboxRow]:
    """Return what a node shall be sent on this connection: not what another that is there has in hand."""
    log_id = Node.objects.values_list("log_id", flat=True).filter(pk=node.pk).first() or ""
    if len(log_id) < PREFIX_CHARACTERS:
        return []
    rows = OutboxRow.objects.select_related("node__link").filter(
        ~Q(node=node, connection_no=connection_no) | Q(node=None),
        state=OutboxState.WAITING.value,
        log_prefix=log_id[:PREFIX_CHARACTERS],
    )
    due = rows.order_by("id")[:SENT_AT_ONCE]
    return [row for row in due if row.node in (None, node) or is_away(row.node, now=now)]
