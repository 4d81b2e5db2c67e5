"""`/api/docs/`: the API to read and to try, for people who are signed in (see `dashboard.urls`).

It has the document from an address of its own, by session: a cookie opens no route of the API itself.
"""

from collections.abc import Callable
from typing import Any, cast

from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.api.openapi import document

# Swagger UI has its icons in data: URLs. Nothing else here needs an exception.
POLICY = {"img-src": ["'self'", "data:"]}


@require_safe
def _page(request: HttpRequest, visitor: object) -> HttpResponse:
    return render(request, "api_docs.html")


page = cast(Callable[[HttpRequest, object], HttpResponse], csp_update(POLICY)(cast(Any, _page)))
"""Return the page."""


@require_safe
def schema(request: HttpRequest, visitor: object) -> HttpResponse:
    """Return the OpenAPI document."""
    return JsonResponse(document())
