"""Routing traces: thin rows for lists, the whole story for one."""

from dataclasses import dataclass
from typing import Any

from dashboard.models import ErrorSignature, History, Node, Removal, Trace
from dashboard.selectors import keyset
from dashboard.selectors.trace_filter import TraceFilter, moment_of

__all__ = ["Story", "TraceFilter", "moment_of", "page", "story"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One trace with its candidates and attempts, as the node wrote them."""

    trace: Trace
    candidates: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    splices: list[dict[str, Any]]
    alias_skips: list[dict[str, Any]]
    message: str


def page(*, wanted: TraceFilter, cursor: keyset.Cursor, rows: int = keyset.PAGE_ROWS) -> keyset.Page[Trace]:
    """Return one page of traces, newest first.

    One query when an index serves all of the filter, else three; one more for a node whose ids aren't known.
    """
    served, rest = wanted.split()
    narrowed = served & wanted.time()
    whole = Trace.objects.select_related("node", "error_signature")
    return keyset.page(whole.filter(narrowed), cursor=cursor, rest=rest, rows=rows, whole=whole)


def story(*, trace_pk: int) -> Story | None:
    """Return one trace with everything known of it, or None; one query."""
    trace = Trace.objects.select_related("node", "detail", "error_signature").filter(pk=trace_pk).first()
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


def newest_of(*, node: Node, rows: int) -> list[Trace]:
    """Return a node's newest traces; one query."""
    wanted = TraceFilter(node=node.name, node_ids=(node.pk,))
    return list(page(wanted=wanted, cursor=keyset.Cursor(), rows=rows).rows)


def newest_called(*, trace_id: str) -> int | None:
    """Return the key of the newest trace with the id that the nodes gave it, or None."""
    found: int | None = (
        Trace.objects.filter(trace_id=trace_id).order_by("-pk").values_list("pk", flat=True).first()
    )
    return found


def signature(*, pk: int) -> str:
    """Return what errors of a signature have in common, "" when there is no such signature; one query."""
    return ErrorSignature.objects.filter(pk=pk).values_list("text", flat=True).first() or ""


def signature_of(*, text: str) -> int:
    """Return the key of a signature by its text, 0 when there is none; one query."""
    return ErrorSignature.objects.filter(text=text).values_list("pk", flat=True).first() or 0


def removed() -> Removal | None:
    """Return what was removed of the list's end, None when nothing ever was; one query."""
    return Removal.objects.filter(kind=History.TRACES.value, removed__gt=0).first()
