"""Access: who and what may come in. Tokens, nodes to add, people and their groups."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.selectors import access, nodes
from dashboard.selectors.keyset import PAGE_ROWS, Cursor
from dashboard.services.rights import Right
from dashboard.web import access_steps, asked
from dashboard.web.access_forms import Forms
from dashboard.web.access_steps import Step
from dashboard.web.asked import BadQuery
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, page
from meshcore.clock import utcnow

SECTIONS = ("tokens", "nodes", "people")
ROWS = 20  # of each list while all three are shown


@require_safe
@page(Right.ADMIN)
def access_page(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Show the newest of each; `?list=tokens` shows one list whole, `?confirm=…&of=…` opens a second step."""
    return show(request, visitor)


def show(
    request: HttpRequest,
    visitor: Visitor,
    *,
    forms: Forms | None = None,
    step: Step | None = None,
    status: int = HTTPStatus.OK,
) -> HttpResponse:
    """Return the page with `forms` as they were filled in, and `step` or what the address asks for open."""
    now = utcnow()
    query = request.GET.dict()
    context = {**frame(visitor, section="access", now=now), "forms": forms or Forms(), "me": visitor.user}
    try:
        only = asked.choice(query, "list", SECTIONS)
        cursor = asked.cursor(query) if only else Cursor()
    except BadQuery as exc:
        only, cursor, status = "", Cursor(), HTTPStatus.BAD_REQUEST
        context["problem"] = str(exc)
    step = step or access_steps.wanted(query, now=now)
    context |= {"only": only, "step": step, "sections": _sections(only, cursor)}
    context |= {"page": context["sections"].get(only), "node_names": nodes.names()}
    return render(request, "access.html", context, status=status)


def _sections(only: str, cursor: Cursor) -> dict[str, Any]:
    """Return what is listed under each name: all three shortened, or one with its pages."""
    now, rows = utcnow(), PAGE_ROWS if only else ROWS
    read: dict[str, Callable[[], Any]] = {
        "tokens": lambda: access.tokens(cursor=cursor, rows=rows, now=now),
        "nodes": lambda: access.nodes(cursor=cursor, rows=rows, now=now),
        "people": lambda: access.people(cursor=cursor, rows=rows),
    }
    return {name: read[name]() for name in SECTIONS if only in ("", name)}
