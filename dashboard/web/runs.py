"""Runs: which live and which have ended, and the story of one."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.models import Run
from dashboard.selectors import keyset, runs
from dashboard.services.rights import Right
from dashboard.web import asked
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, page
from meshcore.clock import utcnow


@require_safe
@page(Right.READ)
def runs_list(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Show runs, newest first."""
    now = utcnow()
    found = keyset.page(Run.objects.all(), cursor=asked.cursor(request.GET.dict()))
    return render(request, "runs.html", {**frame(visitor, section="runs", now=now), "page": found})


@require_safe
@page(Right.READ)
def run(request: HttpRequest, visitor: Visitor, run_id: str) -> HttpResponse:
    """Show one run."""
    now = utcnow()
    found = runs.named(run_id=run_id)
    if found is None:
        raise Http404(f"There is no run {run_id[:80]!r}.")
    return render(request, "run.html", {**frame(visitor, section="runs", now=now), "run": found})
