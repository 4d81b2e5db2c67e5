"""The OpenAPI document, for whoever may read."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.views import SpectacularJSONAPIView

from dashboard.api.authentication import BearerAuthentication
from dashboard.api.base import View


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the document names our authentication."""

    target_class = BearerAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        """Return the scheme."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "msh_…"}


class Schema(View, SpectacularJSONAPIView):
    """The document itself."""

    renderer_classes = SpectacularJSONAPIView.renderer_classes
