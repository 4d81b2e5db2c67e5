"""Which handler a request's method and path lead to."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from meshcore.aio.gateway.answers import Answer, Handler, Refused
from meshcore.aio.gateway.message import Request

_PART = re.compile(r"\{(\w+)(\+?)\}")


class Route(NamedTuple):
    """A handler for a method and for paths of a pattern.

    `{name}` in a pattern is one segment of a path, `{name+}` as many as there are; a handler finds them in
    the request's `parts`.
    """

    method: str
    pattern: str
    handler: Handler


class Routes:
    """All routes of an endpoint; who may GET something may ask for its HEAD."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._plain: dict[str, dict[str, Handler]] = {}
        self._patterns: dict[re.Pattern[str], dict[str, Handler]] = {}
        for method, pattern, handler in routes:
            handlers = (
                self._patterns.setdefault(_compiled(pattern), {})
                if "{" in pattern
                else self._plain.setdefault(pattern, {})
            )
            handlers[method] = handler
            if method == "GET":
                handlers["HEAD"] = handler

    async def __call__(self, request: Request) -> Answer | None:
        """Return what a request's handler answers; raises Refused when there is none."""
        handlers = self._plain.get(request.path) or self._matching(request)
        handler = handlers.get(request.method)
        if handler is not None:
            return await handler(request)
        status, reason = (405, "method not allowed") if handlers else (404, "not found")
        allowed = {"Allow": ",".join(sorted(handlers))} if handlers else None
        message = f"{request.method} {request.path}: {reason}"
        raise Refused(status, reason.replace(" ", "_"), message, headers=allowed)

    def _matching(self, request: Request) -> dict[str, Handler]:
        for pattern, handlers in self._patterns.items():
            if (match := pattern.fullmatch(request.path)) is not None:
                request.parts = match.groupdict()
                return handlers
        return {}


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_PART.sub(lambda part: f"(?P<{part[1]}>{'.+' if part[2] else '[^/]+'})", pattern))
