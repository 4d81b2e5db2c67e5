"""The OpenAPI document: whole, and about what is there."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard import asgi
from dashboard.api import streams
from dashboard.api.base import View
from dashboard.api.openapi import Documented, document

MEDIA_TYPES = {True: {"application/json"}, False: {"application/problem+json"}}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation of all that the views document."""
    for path, methods in document()["paths"].items():
        if path in streams.PATHS:
            continue
        for method, operation in methods.items():
            yield path, method, operation


EDGE = {"telemetry_push"}  # in front of Django: what all of its answers have, these needn't
EVERY = [
    pytest.param(*each, id=each[2]["operationId"])
    for each in operations()
    if each[2]["operationId"] not in EDGE
]


def test_the_generator_has_nothing_to_complain_about() -> None:
    with GENERATOR_STATS.silence():
        SchemaGenerator().get_schema(request=None, public=True)

    assert not GENERATOR_STATS


def test_operations_have_names_of_their_own_and_all_routes_are_there() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]

    assert len(names) == len(set(names)) == 33
    assert document()["openapi"] == "3.1.0"
    assert document()["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


@pytest.mark.parametrize(("path", "method", "operation"), EVERY)
def test_an_operation_is_documented_whole(path: str, method: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]

    assert operation["summary"]
    assert {"400", "401", "403", "406", "503"} <= answers.keys()
    assert ("404" in answers) == ("{" in path)
    assert ({"413", "415"} <= answers.keys()) == ("requestBody" in operation)
    for status, answer in answers.items():
        assert answer["description"] or status.startswith("2")
        assert status == "204" or answer["content"].keys() == MEDIA_TYPES[status.startswith("2")]
        assert "X-Request-Id" in answer["headers"]
    assert "Retry-After" in answers["503"]["headers"]
    assert "WWW-Authenticate" in answers["401"]["headers"]
    assert all(parameter["description"] for parameter in operation.get("parameters", []))


@pytest.mark.parametrize(("path", "method", "operation"), EVERY)
def test_what_obeys_if_match_says_so_with_its_412(path: str, method: str, operation: dict[str, Any]) -> None:
    takes = "If-Match" in {parameter["name"] for parameter in operation.get("parameters", [])}

    assert ("412" in operation["responses"]) == takes
    if takes:
        assert "ETag" in operation["responses"]["412"]["headers"]


@pytest.mark.parametrize(("path", "method", "operation"), EVERY)
def test_what_is_a_list_has_pages(path: str, method: str, operation: dict[str, Any]) -> None:
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    answer = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})

    is_page = answer.get("schema", {}).get("$ref", "").endswith("Page")
    assert ({"cursor", "limit"} <= names) == is_page
    if is_page:
        [limit] = [each for each in operation.get("parameters", []) if each["name"] == "limit"]
        assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 500)


def test_links_lead_to_operations_that_are_there() -> None:
    names = {operation["operationId"] for _, _, operation in operations()}
    links = [
        link["operationId"]
        for _, _, operation in operations()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]

    assert links
    assert set(links) <= names


@pytest.mark.parametrize(
    ("name", "scopes"),
    [
        ("nodes_list", ["read"]),
        ("drain_put", ["nodes:drain", "nodes:push"]),
        ("drain_read", ["read"]),
        ("override_put", ["breakers:write"]),
        ("run_cancel", ["runs:cancel"]),
        ("audit_list", ["audit:read"]),
        ("token_make", ["admin"]),
        ("telemetry_push", ["nodes:push"]),
    ],
)
def test_an_operation_names_each_scope_that_opens_it(name: str, scopes: list[str]) -> None:
    [operation] = [each for _, _, each in operations() if each["operationId"] == name]

    assert operation["security"] == [{"token": [scope]} for scope in scopes]


def test_what_is_answered_is_always_whole() -> None:
    schemas = document()["components"]["schemas"]

    assert set(schemas["Trace"]["required"]) == schemas["Trace"]["properties"].keys()
    assert set(schemas["DrainOrder"]["properties"]) - set(schemas["DrainOrder"]["required"]) == {
        "was_draining"
    }


def test_closed_sets_are_enums() -> None:
    schemas = document()["components"]["schemas"]

    assert schemas["DrainOrder"]["properties"]["observed"]["enum"] == [
        "observed",
        "pending",
        "not_acknowledged",
        "unreachable",
    ]
    assert "never seen" in schemas["Node"]["properties"]["state"]["enum"]
    assert "forced_open" in schemas["Breaker"]["properties"]["state"]["enum"]


def test_the_document_is_json_and_the_same_each_time() -> None:
    assert json.loads(json.dumps(document())) == document()
    assert document() is document()


def test_a_method_that_does_not_say_what_it_is_cant_be_documented() -> None:
    class Bare(View):
        def get(self, request: Request) -> Response:
            return Response()

    inspector = Documented()
    inspector.view, inspector.method, inspector.path = Bare(), "GET", "/bare"

    with pytest.raises(TypeError, match="GET /bare has no @operation"):
        inspector.get_auth()


@pytest.mark.parametrize("path", streams.PATHS)
def test_a_stream_is_named_though_no_view_serves_it(path: str) -> None:
    operation = document()["paths"][path]["get"]

    assert operation["responses"]["200"]["content"].keys() == {"text/event-stream"}
    assert {"400", "401", "403", "503"} <= operation["responses"].keys()
    assert ("404" in operation["responses"]) == ("{" in path)
    assert operation["security"] == [{"token": ["read"]}]
    assert operation["summary"].endswith(".")
    assert "Problem" in document()["components"]["schemas"]
    assert asgi.is_run_stream(path.format(run="run_k3v9x2_1")) or path in asgi.EDGE
