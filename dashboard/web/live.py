"""The same cells by plain requests, for a browser that gets no websocket through."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard import fragments
from dashboard.services.rights import Right
from dashboard.web.guard import Visitor, page
from meshcore.clock import utcnow


@require_safe
@page(Right.READ)
def live_cells(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Return all live cells of `?page=`, nothing for a page that has none."""
    now = utcnow()
    cells = fragments.render_all(request.GET.get("page", ""), now)
    return render(request, "parts/live_cells.html", {"cells": cells, "now": now})
