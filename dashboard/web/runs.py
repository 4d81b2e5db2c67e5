"""Runs: which live and which have ended, and the story of one."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.selectors import keyset, nodes, outbox, runs
from dashboard.selectors.run_ribbon import ribbon
from dashboard.selectors.runs import RunFilter, RunRow
from dashboard.services.rights import Right
from dashboard.web import asked, commands
from dashboard.web.asked import PAUSE, BadQuery
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, is_fragment, page, template_for
from dashboard.web.run_confirm import ASKED, RunConfirm, confirm_of
from meshcore.clock import utcnow
from meshcore.run_events import RunStatus

STATUSES = tuple(status.value for status in RunStatus)
LIVE = "1"


@require_safe
@page(Right.READ)
def runs_list(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Show the newest runs that fit the filter of the address."""
    now, query = utcnow(), request.GET.dict()
    names = nodes.names()
    context = {
        **frame(visitor, section="runs", now=now, live_page=asked.tail(query, "runs")),
        "paused": PAUSE in query,
        "tally": runs.tally(now=now),
        "choices": {"nodes": names, "statuses": STATUSES},
        "command": commands.runs(),
        "example": commands.example_run("http://NODE"),
    }
    try:
        wanted = RunFilter(
            node=asked.choice(query, "node", names),
            status=asked.choice(query, "status", STATUSES),
            live=asked.choice(query, "live", (LIVE,)) == LIVE,
        )
        found = runs.page(wanted=wanted, cursor=asked.cursor(query), now=now)
        searched_to = "" if found.page.searched_to is None else f"run {found.page.searched_to}"
        context |= {"wanted": wanted, "rows": found.rows, "page": found.page, "searched_to": searched_to}
    except BadQuery as exc:
        context |= {"wanted": query, "rows": (), "page": keyset.Page(rows=()), "problem": str(exc)}
    status = 400 if "problem" in context else 200
    return render(request, template_for(request, "runs.html"), context, status=status)


@require_safe
@page(Right.READ)
def run(request: HttpRequest, visitor: Visitor, run_id: str) -> HttpResponse:
    """Show one run; `?confirm=cancel` opens the second step, in place when htmx asks."""
    if is_fragment(request) and "confirm" in request.GET:
        return show_form(request, _wanted(request, visitor, find(run_id)))
    return show(request, visitor, run_id)


def show(
    request: HttpRequest, visitor: Visitor, run_id: str, *, form: RunConfirm | None = None, status: int = 200
) -> HttpResponse:
    """Return the page of a run, with `form` open, else with the one that the address asks for."""
    chrome = frame(visitor, section="runs", now=utcnow(), live_page=f"run:{run_id}")
    each = find(run_id)
    context = {
        **chrome,
        **_told(each),
        "confirm": form or _wanted(request, visitor, each),
        "fragment": is_fragment(request),
    }
    return render(request, template_for(request, "run.html"), context, status=status)


def show_form(request: HttpRequest, form: RunConfirm | None, *, status: int = 200) -> HttpResponse:
    """Return the second step alone, for htmx; nothing when none is open."""
    if form is None:
        return HttpResponse("")
    return render(request, "parts/confirm.html", {"confirm": form}, status=status)


def find(run_id: str) -> RunRow:
    """Return a run; raises Http404."""
    each = runs.named(run_id=run_id, now=utcnow())
    if each is None:
        said = "Its node may not have told of it yet: it does so within seconds once it executes the run."
        raise Http404(f"There is no run {run_id[:80]!r}. {said}")
    return each


def _told(each: RunRow) -> dict[str, Any]:
    run = each.run
    owner = {epoch.get("node") for epoch in run.epochs} | {run.owner}
    return {
        "each": each,
        "run": run,
        "ribbon": ribbon(run),
        "known_nodes": owner & set(nodes.names()),
        "order": outbox.order_of(run.run_id),
        "traces": runs.traces_of(run_id=run.run_id),
        "command": commands.run(run.run_id),
    }


def _wanted(request: HttpRequest, visitor: Visitor, each: RunRow) -> RunConfirm | None:
    is_asked = request.GET.get("confirm") == ASKED and each.live and visitor.may["cancel_run"]
    return confirm_of(each) if is_asked else None
