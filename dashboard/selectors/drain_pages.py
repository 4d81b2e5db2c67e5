"""Drains as a long list, and one with its steps."""

from dataclasses import dataclass

from django.db.models import Q

from dashboard.models import Drain, DrainStep
from dashboard.selectors import keyset

STEPS_MAX = 1000  # told of one drain; a step a second for a quarter of an hour


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainFilter:
    """What the list is narrowed to; empty means anything."""

    node: str = ""
    status: str = ""

    def split(self) -> tuple[Q, Q | None]:
        """Return the condition that an index serves, and what is left to judge row by row."""
        indexed = [Q(node__name=self.node)] if self.node else []
        return keyset.narrow(indexed, [Q(status=self.status)] if self.status else [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A drain and its first steps; `left_out` counts those beyond `STEPS_MAX`."""

    drain: Drain
    steps: list[DrainStep]
    left_out: int


def page(*, wanted: DrainFilter, cursor: keyset.Cursor, rows: int = keyset.PAGE_ROWS) -> keyset.Page[Drain]:
    """Return one page of drains with their nodes, newest first; at most two queries."""
    served, rest = wanted.split()
    base = Drain.objects.select_related("node").filter(served)
    return keyset.page(base, cursor=cursor, rest=rest, rows=rows)


def record(*, drain_pk: int) -> Record | None:
    """Return one drain with its steps, or None; at most three queries."""
    drain = Drain.objects.select_related("node").filter(pk=drain_pk).first()
    if drain is None:
        return None
    steps = list(drain.steps.all()[:STEPS_MAX])
    left_out = drain.steps.count() - len(steps) if len(steps) == STEPS_MAX else 0
    return Record(drain=drain, steps=steps, left_out=left_out)
