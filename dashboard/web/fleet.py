"""The first page: what is worst, and every node."""

import json
import os
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard import fragments
from dashboard.selectors import nodes
from dashboard.services import audit_triggers
from dashboard.services.rights import Right
from dashboard.web import commands
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, is_fragment, page, template_for
from meshcore.clock import utcnow


@require_safe
@page(Right.READ)
def fleet(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Show the fleet."""
    now = utcnow()
    context = {
        **frame(visitor, section="fleet", now=now, live_page="fleet"),
        **fragments.fleet_context(nodes.gather(now=now)),
        "demo_url": demo_url(settings.VAR_DIR),
        "unguarded": () if is_fragment(request) else audit_triggers.missing(connection),
        "command": commands.nodes(),
    }
    return render(request, template_for(request, "fleet.html"), context)


def demo_url(var: Path) -> str:
    """Return the address of the demo's own page while it runs: file and process are there; else ""."""
    try:
        mesh = json.loads((var / "demo" / "mesh.json").read_text())
        os.kill(mesh["pid"], 0)
        url = str(mesh["control_url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # no demo, or one that is just being written or has died
    return url if url.startswith(("http://", "https://")) else ""
