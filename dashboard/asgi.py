"""The ASGI application: the edge first, then static files, then Django.

websocket /link/v1 -> edge.link     a node, by its token
websocket /live    -> live.browser  a page, by its session
/healthz, /metrics, /api/v1/ingest -> edge, without middleware: each layer of it costs a thread hop
GET /api/v1/events, …/runs/ID/stream -> edge, as Django's views gather what they answer
the rest -> static files, Django
"""

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
django_application = get_asgi_application()  # sets Django up: what is imported below needs its models

from django.conf import settings  # noqa: E402

from dashboard.edge.address import BehindProxies  # noqa: E402
from dashboard.edge.events import events  # noqa: E402
from dashboard.edge.health import healthz  # noqa: E402
from dashboard.edge.ingest import ingest  # noqa: E402
from dashboard.edge.link import LinkConsumer  # noqa: E402
from dashboard.edge.metrics import metrics  # noqa: E402
from dashboard.edge.static import with_static_files  # noqa: E402
from dashboard.edge.streams import is_run_stream, run_stream  # noqa: E402
from dashboard.live.browser import LiveConsumer  # noqa: E402

SOCKETS: dict[str, Any] = {"/link/v1": LinkConsumer.as_asgi(), "/live": LiveConsumer.as_asgi()}
EDGE: dict[str, Any] = {
    "/healthz": healthz,
    "/metrics": metrics,
    "/api/v1/events": events,
    "/api/v1/ingest": ingest,
}
pages = with_static_files(django_application)


async def route(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Pass a connection to whom its path belongs."""
    if scope["type"] == "websocket":
        await SOCKETS.get(scope["path"], refuse)(scope, receive, send)
    elif is_run_stream(scope["path"]):
        await run_stream(scope, receive, send)
    else:
        await EDGE.get(scope["path"], pages)(scope, receive, send)


async def refuse(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Refuse a websocket that nobody asked for."""
    await send({"type": "websocket.close"})


application = BehindProxies(route, trusted=settings.MESH_TRUSTED_PROXIES)
