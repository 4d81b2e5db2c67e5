"""The first page: what is worst, and every node."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard import fragments, page_keys
from dashboard.selectors import nodes
from dashboard.services import audit_triggers
from dashboard.services.rights import Right
from dashboard.web import commands
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, is_fragment, page, template_for
from meshcore.clock import utcnow


@dataclass(frozen=True, slots=True, kw_only=True)
class Pager:
    """Which nodes a page shows, of how many; the pages before and behind it, None where there is none."""

    number: int
    first: int
    last: int
    count: int
    before: int | None
    behind: int | None


@require_safe
@page(Right.READ)
def fleet(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Show the fleet."""
    now = utcnow()
    live_page = _page(request.GET.get("page", "1"))
    mesh = nodes.gather(now=now, show=fragments.rows_of(live_page))
    context = {
        **frame(visitor, section="fleet", now=now, live_page=live_page),
        **fragments.fleet_context(mesh),
        "pager": _pager(page_keys.fleet_number(live_page), len(mesh.nodes)),
        "demo_url": demo_url(settings.VAR_DIR),
        "unguarded": () if is_fragment(request) else audit_triggers.missing(connection),
        "command": commands.nodes(),
    }
    return render(request, template_for(request, "fleet.html"), context)


def _page(number: str) -> str:
    """Return the live page of that number; raises Http404."""
    page = page_keys.FLEET if number == "1" else f"{page_keys.FLEET_PAGE}{number}"
    if not page_keys.fleet_number(page):
        raise Http404(f"page={number[:20]!r}: expected 1 to {page_keys.FLEET_PAGES}.")
    return page


def _pager(number: int, count: int) -> Pager:
    pages = min(max(-(-count // nodes.PAGE_ROWS), 1), page_keys.FLEET_PAGES)
    first = (number - 1) * nodes.PAGE_ROWS
    return Pager(
        number=number,
        first=first + 1,
        last=min(first + nodes.PAGE_ROWS, count),
        count=count,
        before=number - 1 if number > 1 else None,
        behind=number + 1 if number < pages else None,
    )


def demo_url(var: Path) -> str:
    """Return the address of the demo's own page while it runs: file and process are there; else ""."""
    try:
        mesh = json.loads((var / "demo" / "mesh.json").read_text())
        os.kill(mesh["pid"], 0)
        url = str(mesh["control_url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # no demo, or one that is just being written or has died
    return url if url.startswith(("http://", "https://")) else ""
