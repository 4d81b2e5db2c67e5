"""The audit as a page: filtered, verified, taken out."""

import enum
from collections.abc import AsyncIterator, Iterator, Mapping

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from dashboard.models import Action, Outcome
from dashboard.selectors import audit as trail
from dashboard.selectors import keyset
from dashboard.selectors.audit import AuditFilter, AuditPage
from dashboard.services import audit, audit_export
from dashboard.services.audit import TrailTooLong, Verdict
from dashboard.services.audit_export import Form
from dashboard.services.rights import Right
from dashboard.web import asked, refused
from dashboard.web.asked import BadQuery
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, actor_of, page, template_for
from meshcore.clock import utcnow

ACTIONS = tuple(action.value for action in Action)
OUTCOMES = tuple(outcome.value for outcome in Outcome)
VERIFY_ENTRIES_MAX = 50_000  # about 5 s of a processor that others need, too
EXPORT_ENTRIES_MAX = 20_000  # about 12 MB, which waits in memory for a slow client; the command has no bound
MEDIA_TYPES = {Form.JSON_LINES: "application/x-ndjson", Form.CSV: "text/csv; charset=utf-8; header=present"}
UNPROCESSABLE = 422


class Act(enum.StrEnum):
    """What a button of the page does."""

    VERIFY = "verify"
    EXPORT_LINES = "export-jsonl"
    EXPORT_TABLE = "export-csv"


FORMS = {Act.EXPORT_LINES: Form.JSON_LINES, Act.EXPORT_TABLE: Form.CSV}


@require_http_methods(["GET", "HEAD", "POST"])
@page(Right.AUDIT_READ)
def audit_list(request: HttpRequest, visitor: Visitor) -> HttpResponseBase:
    """Show who did what, newest first; posted to, verify the trail or send what fits the filter as a file."""
    if request.method != "POST":
        return _show(request, visitor)
    try:
        act = Act(asked.choice(request.POST.dict(), "do", tuple(Act)) or Act.VERIFY)
        if act is Act.VERIFY:
            return _show(request, visitor, verdict=audit.verify(at_most=VERIFY_ENTRIES_MAX))
        return _download(request, visitor, FORMS[act])
    except TrailTooLong as exc:
        return _show(request, visitor, problem=str(exc))
    except BadQuery as exc:
        refused.at_once(request, visitor, Action.AUDIT_EXPORT, "audit", str(exc))
        return _show(request, visitor, problem=str(exc))


def _download(request: HttpRequest, visitor: Visitor, form: Form) -> HttpResponseBase:
    """Send a file; that somebody took the trail out is an entry, so no mere link leads here."""
    wanted, now = _wanted(request.GET.dict()), utcnow()
    if audit_export.fitting(wanted, at_most=EXPORT_ENTRIES_MAX) > EXPORT_ENTRIES_MAX:
        raise BadQuery(f"More than {EXPORT_ENTRIES_MAX} entries fit: narrow the filter, or use export_audit.")
    export = audit_export.begin(wanted=wanted, form=form, actor=actor_of(request, visitor), now=now)
    return StreamingHttpResponse(
        _streamed(audit_export.pieces(export, form)),
        content_type=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="audit-{now:%Y%m%dT%H%M%SZ}.{form}"'},
    )


async def _streamed(pieces: Iterator[str]) -> AsyncIterator[str]:
    """Yield the pieces, each read in the request's own thread."""
    while piece := await sync_to_async(_next)(pieces):
        yield piece


def _next(pieces: Iterator[str]) -> str:
    return next(pieces, "")


def _show(
    request: HttpRequest, visitor: Visitor, *, verdict: Verdict | None = None, problem: str = ""
) -> HttpResponse:
    posted = request.method == "POST"
    live_page = "" if posted else asked.tail(request.GET, "audit")
    context = {
        **frame(visitor, section="audit", now=utcnow(), live_page=live_page),
        "choices": {"actions": ACTIONS, "outcomes": OUTCOMES},
        "chain": trail.chain(),
        "verdict": verdict,
        "page": keyset.Page(rows=()),
    }
    query = request.GET.dict()
    try:
        wanted = _wanted(query)
        found = trail.page(wanted=wanted, cursor=asked.cursor(query))
        context |= {"wanted": wanted, "found": found, "page": found.page, "searched_to": _searched_to(found)}
    except BadQuery as exc:
        context["wanted"] = query
        problem = problem or str(exc)
    context["problem"] = problem
    status = (UNPROCESSABLE if posted else 400) if problem else 200
    return render(request, template_for(request, "audit.html"), context, status=status)


def _wanted(query: Mapping[str, str]) -> AuditFilter:
    """Return what the address narrows the list to; raises BadQuery."""
    return AuditFilter(
        actor=asked.text(query, "actor", at_most=150),
        action=asked.choice(query, "action", ACTIONS),
        target=asked.text(query, "target", at_most=200),
        outcome=asked.choice(query, "outcome", OUTCOMES),
        text=asked.text(query, "text", at_most=200),
        since=asked.moment(query, "from"),
        until=asked.moment(query, "to"),
    )


def _searched_to(found: AuditPage) -> str:
    return "" if found.page.searched_to is None else f"entry {found.page.searched_to}"
