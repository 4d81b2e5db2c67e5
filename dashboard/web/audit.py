"""The audit as a page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.models import Action
from dashboard.selectors import audit, keyset
from dashboard.selectors.audit import AuditFilter
from dashboard.services.rights import Right
from dashboard.web import asked
from dashboard.web.asked import BadQuery
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, page, template_for
from meshcore.clock import utcnow

ACTIONS = tuple(action.value for action in Action)


@require_safe
@page(Right.AUDIT_READ)
def audit_list(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Show who did what, newest first."""
    context = {
        **frame(visitor, section="audit", now=utcnow(), live_page=asked.tail(request.GET, "audit")),
        "choices": {"actions": ACTIONS},
        "chain": audit.chain(),
    }
    query = request.GET.dict()
    try:
        wanted = AuditFilter(
            actor=asked.text(query, "actor", at_most=150),
            action=asked.choice(query, "action", ACTIONS),
            target=asked.text(query, "target", at_most=200),
        )
        found = audit.page(wanted=wanted, cursor=asked.cursor(query))
        context |= {
            "wanted": wanted,
            "told": found.told,
            "page": found.page,
            "searched_to": _searched_to(found),
        }
    except BadQuery as exc:
        context |= {"wanted": query, "page": keyset.Page(rows=()), "problem": str(exc)}
    status = 400 if "problem" in context else 200
    return render(request, template_for(request, "audit.html"), context, status=status)


def _searched_to(found: audit.AuditPage) -> str:
    return "" if found.page.searched_to is None else f"entry {found.page.searched_to}"
