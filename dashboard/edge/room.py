"""A person's order on a full disk: tried again with the ballast's room, or told how to drain locally."""

from http import HTTPStatus
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from dashboard.edge.one_hop import GetResponse
from dashboard.services import ballast


class RoomForOrders:
    """Middleware. A view whose write found the disk full is called again, once; it had changed nothing."""

    sync_capable, async_capable = True, False

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass on."""
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """Return the answer of the second try, or 507; None for what isn't about a full disk."""
        match = request.resolver_match
        if match is None or not (isinstance(exception, DatabaseError) and ballast.make_room(exception)):
            return None
        try:
            answer: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
        except DatabaseError as exc:
            if not ballast.is_full(exc):
                raise
            return _full(request)
        return answer


def _full(request: HttpRequest) -> HttpResponse:
    return render(request, "full.html", status=HTTPStatus.INSUFFICIENT_STORAGE)


def notice(request: HttpRequest) -> dict[str, Any]:
    """Return what every page says while the disk is full; a context processor."""
    held = ballast.current()
    return {"disk_full": held.notice if held else None}
