"""Routing traces: the list, and the story of one."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from dashboard.models import Trace
from dashboard.selectors import keyset, nodes, traces
from dashboard.selectors.traces import TraceFilter
from dashboard.services.rights import Right
from dashboard.web import asked, commands, trace_query
from dashboard.web.asked import PAUSE, BadQuery
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, page, template_for
from dashboard.web.trace_query import CODES, OUTCOMES, REASONS
from meshcore.clock import utcnow
from meshcore.trace import Why

PK_MAX_DIGITS = 19
WHY = {
    Why.LOCAL: "its own provider had room",
    Why.SCORE: "it had the best score",
    Why.STICKY: "the session was there before",
    Why.ALIAS: "the alias leads there",
    Why.FAILOVER: "an earlier choice failed",
    Why.DRAIN: "the node that was asked is draining",
    Why.BREAKER: "a breaker kept calls away from the first choice",
}


@require_safe
@page(Right.READ)
def traces_list(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Show the newest traces that fit the filter of the address."""
    now = utcnow()
    known = nodes.ids()
    context = {
        **frame(visitor, section="traces", now=now, live_page=asked.tail(request.GET, "traces")),
        "paused": PAUSE in request.GET,
        "choices": {"nodes": list(known), "outcomes": OUTCOMES, "codes": CODES, "reasons": REASONS},
        "command": commands.traces(),
        "example": commands.example_call("http://NODE"),
    }
    query = request.GET.dict()
    try:
        wanted = trace_query.wanted(query, known)
        context |= _found(wanted, traces.page(wanted=wanted, cursor=asked.cursor(query)))
    except BadQuery as exc:
        context |= {"page": keyset.Page(rows=()), "wanted": query, "problem": str(exc)}
    status = 400 if "problem" in context else 200
    return render(request, template_for(request, "traces.html"), context, status=status)


@require_safe
@page(Right.READ)
def trace(request: HttpRequest, visitor: Visitor, ident: str) -> HttpResponse:
    """Show one trace by its key; by the id that the nodes gave it, go to the newest of that id."""
    if not (ident.isascii() and ident.isdigit() and len(ident) <= PK_MAX_DIGITS):
        return _by_trace_id(ident)
    story = traces.story(trace_pk=min(int(ident), asked.KEY_MAX))
    if story is None:
        raise Http404(f"There is no trace {ident}; the oldest are removed in time.")
    context = {**frame(visitor, section="traces", now=utcnow()), **_told(story)}
    return render(request, "trace.html", context)


def _by_trace_id(ident: str) -> HttpResponse:
    found = traces.newest_called(trace_id=ident)
    if found is None:
        raise Http404(f"There is no trace {ident[:64]!r}; it may not have been told yet.")
    return redirect("trace", found)


def _found(wanted: TraceFilter, found: keyset.Page[Trace]) -> dict[str, Any]:
    at_end = found.older is None and found.searched_to is None
    return {
        "wanted": wanted,
        "page": found,
        "searched_to": _searched_to(found),
        "removed": traces.removed() if at_end else None,
        "kept": settings.MESH_RETENTION,
        "signature": "" if wanted.signature is None else traces.signature(pk=wanted.signature),
        "narrow": wanted.is_narrow,
    }


def _searched_to(found: keyset.Page[Trace]) -> str:
    return "" if found.searched_to is None else f"{traces.moment_of(found.searched_to):%d %b %H:%M:%S}"


def _told(story: traces.Story) -> dict[str, Any]:
    trace = story.trace
    return {
        "trace": trace,
        "story": story,
        "models": _models(trace),
        "candidates": story.candidates,
        "attempts": story.attempts,
        "splices": story.splices,
        "alias_skips": story.alias_skips,
        "message": story.message,
        "elsewhere": _elsewhere(trace),
        "title": _title(trace),
        "outcome_words": _outcome(trace),
        "why": WHY.get(Why(trace.why), "") if trace.why in set(Why) else "",
        "command": commands.trace(trace.pk),
    }


def _models(trace: Trace) -> str:
    """Return the way from the name that was asked for to the model that answered."""
    steps = (trace.alias, trace.model_asked, trace.model_served)
    return " → ".join(dict.fromkeys(step for step in steps if step)) or "default"


def _elsewhere(trace: Trace) -> str:
    """Return the filter of the list that finds the same error; "" when there was none."""
    if trace.error_signature_id is not None:
        return urlencode({"signature": trace.error_signature_id})
    wanted = {"code": trace.code, "provider": trace.provider}
    return urlencode({key: value for key, value in wanted.items() if value}) if trace.code else ""


def _title(trace: Trace) -> str:
    short = trace.trace_id[:8]
    if trace.outcome != "ok":
        return f"Trace {short}… found no answer"
    served = trace.node.name if trace.routed_via == "local" else trace.routed_via
    return f"Trace {short}… was served by {served}"


def _outcome(trace: Trace) -> str:
    failovers = max(trace.hops - 1, 0)
    word = trace.code or trace.outcome
    return f"{word}, {failovers} failover{'s' if failovers > 1 else ''}" if failovers else word
