"""Routing traces: thin rows for lists, the whole story for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import Q

from dashboard.models import Trace
from dashboard.selectors import keyset

ID_SHIFT = 20  # a trace's id is its milliseconds << 20 | slot | counter (dashboard.md, "Traces at size")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """What a list is narrowed to; empty means anything."""

    node: str = ""
    provider: str = ""
    outcome: str = ""
    code: str = ""
    trace_id: str = ""
    failed_over: bool = False

    def split(self) -> tuple[Q, Q | None]:
        """Return the condition that an index serves, and what is left to judge row by row."""
        indexed = [
            (self.trace_id, Q(trace_id=self.trace_id)),
            (self.provider, Q(provider=self.provider)),
            (self.node, Q(node__name=self.node)),
            (self.outcome, Q(outcome=self.outcome)),
        ]
        other = [(self.code, Q(code=self.code)), (self.failed_over, Q(hops__gt=1))]
        return keyset.narrow(_wanted(indexed), _wanted(other))


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One trace with its candidates and attempts, as the node wrote them."""

    trace: Trace
    candidates: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    splices: list[dict[str, Any]]
    alias_skips: list[dict[str, Any]]
    message: str


def _wanted(conditions: Sequence[tuple[object, Q]]) -> list[Q]:
    return [condition for value, condition in conditions if value]


def page(*, wanted: TraceFilter, cursor: keyset.Cursor, rows: int = keyset.PAGE_ROWS) -> keyset.Page[Trace]:
    """Return one page of traces, newest first; at most two queries."""
    served, rest = wanted.split()
    base = Trace.objects.select_related("node").filter(served)
    return keyset.page(base, cursor=cursor, rest=rest, rows=rows)


def story(*, trace_pk: int) -> Story | None:
    """Return one trace with everything known of it, or None; one query."""
    trace = Trace.objects.select_related("node", "detail").filter(pk=trace_pk).first()
    if trace is None:
        return None
    detail = getattr(trace, "detail", None)
    return Story(
        trace=trace,
        candidates=detail.candidates if detail else [],
        attempts=detail.attempts if detail else [],
        splices=detail.splices if detail else [],
        alias_skips=detail.alias_skips if detail else [],
        message=detail.message if detail else "",
    )


def newest_called(*, trace_id: str) -> int | None:
    """Return the key of the newest trace with the id that the nodes gave it, or None."""
    found: int | None = (
        Trace.objects.filter(trace_id=trace_id).order_by("-pk").values_list("pk", flat=True).first()
    )
    return found


def moment_of(trace_pk: int) -> datetime:
    """Return the time that a trace's key tells."""
    return datetime.fromtimestamp((trace_pk >> ID_SHIFT) / 1000, tz=UTC)
