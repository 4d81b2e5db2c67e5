"""One node's page."""

from datetime import datetime
from typing import NamedTuple

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard import fragments
from dashboard.models import Node
from dashboard.selectors import nodes, runs
from dashboard.selectors.nodes import Gathered, NodeNow
from dashboard.services.rights import Right
from dashboard.web import commands, confirm
from dashboard.web.confirm import Confirm
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, is_fragment, page, template_for
from meshcore.clock import utcnow


@require_safe
@page(Right.READ)
def node(request: HttpRequest, visitor: Visitor, name: str) -> HttpResponse:
    """Show a node; `?confirm=drain` opens the second step, in place when htmx asks."""
    if is_fragment(request) and "confirm" in request.GET:
        found = find(name)
        return show_form(request, _wanted(request, visitor, found.row, now=found.mesh.now))
    return show(request, visitor, name)


def show(
    request: HttpRequest, visitor: Visitor, name: str, *, form: Confirm | None = None, status: int = 200
) -> HttpResponse:
    """Return the page of a node, with `form` open, else with the one that the address asks for."""
    chrome = frame(visitor, section="fleet", now=utcnow(), live_page=f"node:{name}")
    mesh, row, stored = find(name)
    context = {
        **chrome,
        **fragments.node_context(mesh, row),
        "aliases_command": commands.aliases(row.node.url),
        "live_runs": runs.of_node(name=name, now=mesh.now),
        "past": nodes.past_of(node=stored),
        "confirm": form or _wanted(request, visitor, row, now=mesh.now),
        "fragment": is_fragment(request),
    }
    return render(request, template_for(request, "node.html"), context, status=status)


def show_form(request: HttpRequest, form: Confirm | None, *, status: int = 200) -> HttpResponse:
    """Return the second step alone, for htmx; nothing when none is open."""
    if form is None:
        return HttpResponse("")
    return render(request, "parts/confirm.html", {"confirm": form}, status=status)


class Found(NamedTuple):
    """All nodes, the one that was asked for, and all that is stored of it."""

    mesh: Gathered
    row: NodeNow
    stored: Node


def find(name: str) -> Found:
    """Return a node among all; raises Http404."""
    mesh = nodes.gather(now=utcnow(), show=name)
    row = mesh.named(name)
    if row is None or row.stored is None:
        raise Http404(f"There is no node called {name[:63]!r}.")
    return Found(mesh, row, row.stored)


def _wanted(request: HttpRequest, visitor: Visitor, row: NodeNow, *, now: datetime) -> Confirm | None:
    return confirm.wanted(request.GET.dict(), row, now=now) if visitor.may["drain"] else None
