"""Which table of aliases each node shall go by, as a list."""

from dashboard.models import DesiredState


def page(*, after: str, rows: int) -> list[DesiredState]:
    """Return the desired states of the nodes behind `after` by their names, at most `rows`; one query."""
    states = DesiredState.objects.select_related("node").filter(node__name__gt=after)
    return list(states.order_by("node__name")[:rows])
