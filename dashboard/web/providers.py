"""Providers: how each node sees them, and how the nodes see each other."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard import fragments
from dashboard.selectors import matrix
from dashboard.selectors.matrix import Wanted
from dashboard.services.rights import Right
from dashboard.web import asked, commands
from dashboard.web.asked import BadQuery
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, page, template_for
from meshcore.breaker import BreakerState
from meshcore.clock import utcnow

STATES = tuple(state.value for state in BreakerState)


@require_safe
@page(Right.READ)
def providers(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Show the breakers of all nodes that fit the filter of the address."""
    now, query = utcnow(), request.GET.dict()
    chrome = frame(visitor, section="providers", now=now, live_page="providers")
    try:
        wanted, problem = _wanted(query), ""
    except BadQuery as exc:
        wanted, problem = Wanted(), str(exc)
    found = matrix.read(now=now, wanted=wanted)
    context = {
        **chrome,
        **fragments.matrix_context(found),
        "wanted": wanted,
        "problem": problem,
        "choices": {"providers": found.names, "states": STATES},
        "command": commands.node(next((each.name for each in found.providers.columns), "node-a")),
    }
    return render(request, template_for(request, "providers.html"), context, status=400 if problem else 200)


def _wanted(query: dict[str, str]) -> Wanted:
    return Wanted(
        state=asked.choice(query, "state", STATES),
        provider=asked.text(query, "provider", at_most=200),
    )
