"""Drains: which go on, what came of the others, and the record of one."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.models import Drain, DrainStatus
from dashboard.selectors import drain_list, keyset, nodes
from dashboard.selectors import drain_record as records
from dashboard.selectors.drain_list import DrainFilter
from dashboard.services.rights import Right
from dashboard.web import asked, commands
from dashboard.web.asked import KEY, KEY_MAX, BadQuery
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, page, template_for
from meshcore.clock import utcnow

STATUSES = tuple(status.value for status in DrainStatus)


@require_safe
@page(Right.READ)
def drains_list(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Show drains, newest first."""
    now, query = utcnow(), request.GET.dict()
    names = nodes.names()
    context = {
        **frame(visitor, section="drains", now=now, live_page=asked.tail(query, "drains")),
        "choices": {"nodes": names, "statuses": STATUSES},
        "command": commands.drains(),
        "example": commands.drain(next(iter(names), "node-a")),
    }
    try:
        wanted = DrainFilter(
            node=asked.choice(query, "node", names),
            status=asked.choice(query, "status", STATUSES),
            by=asked.text(query, "by", at_most=150),
        )
        found = drain_list.page(wanted=wanted, cursor=asked.cursor(query), now=now)
        context |= {
            "wanted": wanted,
            "rows": found.rows,
            "page": found.page,
            "searched_to": _searched_to(found.page),
        }
    except BadQuery as exc:
        context |= {"wanted": query, "rows": (), "page": keyset.Page(rows=()), "problem": str(exc)}
    status = 400 if "problem" in context else 200
    return render(request, template_for(request, "drains.html"), context, status=status)


@require_safe
@page(Right.READ)
def drain_record(request: HttpRequest, visitor: Visitor, ident: str) -> HttpResponse:
    """Show the record of one drain: who asked, why, and each step with both times."""
    now = utcnow()
    chrome = frame(visitor, section="drains", now=now, live_page="drains")
    found = records.read(pk=int(ident), now=now) if KEY.fullmatch(ident) and int(ident) <= KEY_MAX else None
    if found is None:
        raise Http404(f"There is no drain {ident[:40]!r}.")
    drain = found.row.drain
    context = {
        **chrome,
        "each": found.row,
        "drain": drain,
        "record": found,
        "entries": records.entries(drain=drain) if visitor.may["audit"] else None,
        "command": commands.drain_record(drain.pk),
    }
    return render(request, template_for(request, "drain.html"), context)


def _searched_to(found: keyset.Page[Drain]) -> str:
    return "" if found.searched_to is None else f"drain {found.searched_to}"
