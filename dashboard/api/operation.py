"""What one method of one address is: who may, what it takes, what it answers.

Said once, beside the method: the views read it to check a request, the schema to document it.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, ParamSpec, TypeVar, cast

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers

from dashboard.api import preconditions
from dashboard.api.body import BODY_MAX_BYTES, JSON, ONE_LINE, Shape
from dashboard.api.problems import MEDIA_TYPE, ProblemSerializer
from dashboard.services.rights import Right

P = ParamSpec("P")
R = TypeVar("R")

LIMIT_DEFAULT = 50
LIMIT_MAX = 500
NUMBER_MAX = 1e9
VALUE_MAX_CHARACTERS = 500  # of a parameter; a reason may have that many

ALWAYS = {
    HTTPStatus.BAD_REQUEST: "Something in the request isn't allowed; `errors` names it.",
    HTTPStatus.UNAUTHORIZED: "There is no token, or it doesn't count (any more).",
    HTTPStatus.FORBIDDEN: "The token lacks the scope that `detail` names.",
    HTTPStatus.NOT_ACCEPTABLE: f"Answers are {JSON}.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The database is busy or away; nothing was changed.",
    HTTPStatus.INSUFFICIENT_STORAGE: "The disk is full; nothing was changed.",
}
WITH_BODY = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"The body has more than {BODY_MAX_BYTES} bytes.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: f"The body is no {JSON} in UTF-8.",
}
NOT_FOUND = {HTTPStatus.NOT_FOUND: "There is no such thing."}
IF_MATCHED = {HTTPStatus.PRECONDITION_FAILED: "The desired state is at another generation than `If-Match`."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A parameter of an address's query: text, one of `choices`, a moment, or a number from 0 to a billion.

    Only with `may_be_empty` it may be: an empty `node` may be a script's mistake, and must not mean all.
    """

    name: str
    says: str
    choices: tuple[str, ...] = ()
    required: bool = False
    at_most: int = VALUE_MAX_CHARACTERS
    may_be_empty: bool = False
    moment: bool = False
    number: bool = False

    def documented(self) -> OpenApiParameter:
        """Return it for the schema."""
        if self.moment:
            return OpenApiParameter(self.name, datetime, description=self.says)
        if self.number:
            return OpenApiParameter(
                self.name, {"type": "number", "minimum": 0, "maximum": NUMBER_MAX}, description=self.says
            )
        bounded: dict[str, Any] = {"type": "string", "maxLength": self.at_most, "pattern": ONE_LINE}
        if not self.may_be_empty:
            bounded["minLength"] = 1
        kind: Any = str if self.choices else bounded
        return OpenApiParameter(
            self.name,
            kind,
            description=self.says,
            required=self.required,
            enum=list(self.choices) or None,
        )


REASON = Filter(name="reason", says="Why; kept in the audit.", may_be_empty=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where an answer leads: the operation, and where in the answer its parameters are."""

    to: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def documented(self) -> dict[str, Any]:
        """Return it for the schema."""
        return {"operationId": self.to, "parameters": dict(self.parameters)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """See the module. `cursor` has the types of a list's key, () for what is no list."""

    name: str
    right: Right
    filters: tuple[Filter, ...] = ()
    cursor: tuple[type, ...] = ()
    bodies: tuple[Shape, ...] = ()
    conditional: bool = False  # whether it obeys If-Match
    links: Mapping[int, Mapping[str, Link]] = field(default_factory=dict)


def operation(
    name: str,
    *,
    answers: Mapping[int, Any],
    right: Right = Right.READ,
    filters: tuple[Filter, ...] = (),
    cursor: tuple[type, ...] = (),
    bodies: tuple[Shape, ...] = (),
    conditional: bool = False,
    refuses: Mapping[HTTPStatus, str] | None = None,
    tagged: bool = False,
    links: Mapping[int, Mapping[str, Link]] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Say what the method of a view is.

    `answers` are its good ones, by status; `refuses` what it refuses beside what all refuse. `tagged`: its
    good answers carry the ETag.
    """
    what = Operation(
        name=name,
        right=right,
        filters=filters,
        cursor=cursor,
        bodies=bodies,
        conditional=conditional,
        links=links or {},
    )
    good = list(answers)
    tags = ([*good] if tagged else []) + ([412] if conditional else [])
    headers = [*REQUEST_HEADERS[conditional], *_answer_headers(tags, created=201 in answers)]

    def say(method: Callable[P, R]) -> Callable[P, R]:
        path = list(inspect.signature(method).parameters)[len(("self", "request")) :]
        refused = {
            **ALWAYS,
            **(NOT_FOUND if path else {}),
            **(WITH_BODY if bodies else {}),
            **(IF_MATCHED if conditional else {}),
            **(refuses or {}),
        }
        described = extend_schema(
            operation_id=name,
            parameters=[
                *(PATH[part] for part in path),
                *(each.documented() for each in filters),
                *_page_parameters(cursor),
                *headers,
            ],
            responses={**{(code, JSON): each for code, each in answers.items()}, **_problems(refused)},
        )(method)
        cast(Any, described).operation = what
        return described

    return say


def of(method: Any) -> Operation | None:
    """Return what a view's method is; None for what isn't one."""
    found: Operation | None = getattr(method, "operation", None)
    return found


def page_of(
    name: str, row: type[serializers.BaseSerializer[Any]], **more: serializers.Field[Any, Any, Any, Any]
) -> OpenApiResponse:
    """Return a page of what `row` writes, for the schema; `more` is what the page tells besides."""
    following = serializers.CharField(allow_null=True, help_text="The address of the next page, if any.")
    return OpenApiResponse(
        inline_serializer(name, {"results": row(many=True), "next": following, **more}), "A page."
    )


def _page_parameters(cursor: tuple[type, ...]) -> list[OpenApiParameter]:
    if not cursor:
        return []
    limit = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
    where = "Where the page before ended, as its `next` says it; opaque."
    return [
        OpenApiParameter("limit", limit, description="Rows in a page."),
        OpenApiParameter("cursor", {"type": "string", "maxLength": VALUE_MAX_CHARACTERS}, description=where),
    ]


def _header(name: str, says: str, *codes: int, schema: Any = str) -> OpenApiParameter:
    return OpenApiParameter(
        name, schema, OpenApiParameter.HEADER, description=says, required=True, response=list(codes)
    )


def _answer_headers(tags: list[int], *, created: bool) -> list[OpenApiParameter]:
    every = OpenApiParameter(
        "X-Request-Id",
        str,
        OpenApiParameter.HEADER,
        description="The request's id, by which the audit knows it; yours, when you sent one.",
        required=True,
        response=True,
    )
    headers = [
        every,
        _header("WWW-Authenticate", "What opens the API.", 401),
        _header("Retry-After", "Seconds to wait.", 503),
    ]
    if tags:
        headers.append(_header("ETag", "The generation of the desired state.", *tags))
    if created:
        headers.append(_header("Location", "The address of what was made.", 201))
    return headers


def _problems(refused: Mapping[HTTPStatus, str]) -> dict[tuple[int, str], OpenApiResponse]:
    return {
        (status.value, MEDIA_TYPE): OpenApiResponse(ProblemSerializer, says)
        for status, says in refused.items()
    }


def _path_part(name: str, pattern: str, says: str, example: str) -> OpenApiParameter:
    schema = {"type": "string", "pattern": pattern}
    examples = [OpenApiExample("example", value=example)]
    return OpenApiParameter(
        name, schema, OpenApiParameter.PATH, description=says, required=True, examples=examples
    )


PATH = {
    "name": _path_part("name", "^[a-z0-9][a-z0-9._-]{0,62}$", "The node's id.", "node-a"),
    "drain": _path_part("drain", "^[0-9]{1,19}$", "The drain's id.", "7"),
    "trace": _path_part("trace", "^[0-9]{1,19}$", "The trace's id on the dashboard.", "1850000000000000000"),
    "prefix": _path_part("prefix", "^[a-z0-9]{8}$", "The token's public part.", "k3v9x2qa"),
    "run": _path_part("run", "^run_[0-9A-Za-z]{6}_[0-9A-Za-z_-]{1,64}$", "The run's id.", "run_k3v9x2_1"),
}
REQUEST_HEADERS = {
    False: [],
    True: [
        OpenApiParameter(
            preconditions.HEADER,
            {"type": "string", "pattern": r'^(\*|"[0-9]+")$'},
            OpenApiParameter.HEADER,
            description="Act only at this generation: the `ETag` that was read.",
        )
    ],
}
