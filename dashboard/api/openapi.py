"""The OpenAPI document: what `operation` says of each method, and nothing that isn't so."""

from functools import lru_cache
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction
from rest_framework import serializers

from dashboard.api import ingest_document, operation, streams
from dashboard.api.authentication import BearerAuthentication
from dashboard.api.body import JSON
from dashboard.api.operation import Operation
from dashboard.api.permissions import scope_of
from dashboard.models import Scope
from dashboard.services.rights import Right

SCHEME = "token"


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the document names our authentication."""

    target_class = BearerAuthentication
    name = SCHEME

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        """Return the scheme."""
        says = "A token as it was shown when it was made. What it may is said with each operation."
        return {"type": "http", "scheme": "bearer", "bearerFormat": "msh_…", "description": says}


class Documented(AutoSchema):
    """Documents a method of our views."""

    @property
    def _operation(self) -> Operation:
        found = operation.of(getattr(self.view, self.method.lower()))
        if found is None:
            raise TypeError(f"{self.method} {self.path} has no @operation")
        return found

    def get_auth(self) -> list[dict[str, Any]]:
        """Return each scope that opens it; one of them is enough."""
        scopes = _scopes(self._operation.right)
        super().get_auth()  # registers the scheme
        return [{SCHEME: [scope]} for scope in scopes]

    def get_summary(self) -> str:
        """Return the first sentence of the method's docstring."""
        first, end, _ = self.get_description().partition(". ")
        return first + "." if end else first

    def _get_request_body(self, direction: Direction = "request") -> dict[str, Any] | None:
        shapes = self._operation.bodies
        if not shapes:
            return None
        schemas = [shape.schema() for shape in shapes]
        examples = {f"example {n}": {"value": dict(each.example)} for n, each in enumerate(shapes, start=1)}
        schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
        body = {"content": {JSON: {"schema": schema, "examples": examples}}}
        return {**body, "required": all(shape.required for shape in shapes)}

    def _map_basic_serializer(self, serializer: Any, direction: Direction) -> dict[str, Any]:
        """All that we write is always there, but what a plain serializer says it may leave out."""
        schema: dict[str, Any] = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        of_model = isinstance(serializer, serializers.ModelSerializer)
        always = [name for name, field in serializer.fields.items() if of_model or field.required]
        return {**schema, "required": sorted(always)}

    def _get_response_bodies(self, direction: Direction = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for status, links in self._operation.links.items():
            bodies[str(status)]["links"] = {name: link.documented() for name, link in links.items()}
        return dict(sorted(bodies.items()))


def _scopes(right: Right) -> list[str]:
    """A node may drain itself with its own token, too (drain-and-control §4)."""
    return [scope_of(right), *([Scope.NODES_PUSH.value] if right is Right.DRAIN else [])]


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """Return the document; it is the same as long as the process lives."""
    made = dict(SchemaGenerator().get_schema(request=None, public=True))  # type: ignore[no-untyped-call]
    in_front = {**streams.PATHS, ingest_document.PATH: {"post": ingest_document.operation()}}
    return {**made, "paths": dict(sorted({**made["paths"], **in_front}.items()))}
