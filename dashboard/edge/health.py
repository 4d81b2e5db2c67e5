"""`/healthz`: the process is there and its loop turns. It asks nobody else, so that it never waits."""

from http import HTTPStatus
from typing import Any

from dashboard.edge.responses import respond


async def healthz(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer 200."""
    await respond(send, HTTPStatus.OK, b'{"status": "ok"}', b"application/json")
