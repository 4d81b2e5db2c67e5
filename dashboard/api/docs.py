"""`/api/docs/`: the API to read and to try, for people who are signed in (see `dashboard.urls`).

It has the document from an address of its own, by session: a cookie opens no route of the API itself.
"""

from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.api.openapi import document

# Swagger UI has its icons in data: URLs. Nothing else here needs an exception.
POLICY = {"img-src": ["'self'", "data:"]}


@require_safe
@csp_update(POLICY)  # type: ignore[arg-type]
def page(request: HttpRequest, visitor: object) -> HttpResponse:
    """Return the page."""
    return render(request, "api_docs.html")


@require_safe
def schema(request: HttpRequest, visitor: object) -> HttpResponse:
    """Return the OpenAPI document."""
    return JsonResponse(document())
