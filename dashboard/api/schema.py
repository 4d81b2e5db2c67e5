"""`/api/v1/schema`: the OpenAPI document, for whoever may read."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.base import View
from dashboard.api.openapi import document
from dashboard.api.operation import operation


class Schema(View):
    """The document itself."""

    @operation("schema_read", answers={200: OpenApiResponse(OpenApiTypes.OBJECT, "This document.")})
    def get(self, request: Request) -> Response:
        """Return this document."""
        self.query(request)
        return Response(document())
