"""`/api/v1/tokens`: make, see and revoke them."""

import re
from http import HTTPStatus
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from dashboard.api.base import View
from dashboard.api.body import LINE, LINES, SECONDS, Key, Kind, Shape, no_body, raw_json
from dashboard.api.operation import REASON, Link, operation, page_of
from dashboard.api.orders import node_in
from dashboard.api.problems import Problem
from dashboard.models import Action, Scope, Token
from dashboard.selectors import token_pages
from dashboard.services import tokens
from dashboard.services.rights import Right

PREFIX = re.compile(rf"[a-z0-9]{{{tokens.PREFIX_CHARACTERS}}}")
NEW = "token:new"  # the target of a refusal: there is no token to name


def _are_scopes(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each in set(Scope) for each in value)


SCOPES = Kind(
    f"a list of scopes: {', '.join(Scope)}",
    _are_scopes,
    {"type": "array", "items": {"type": "string", "enum": [scope.value for scope in Scope]}, "minItems": 1},
)
BODY = Shape(
    keys={
        "name": Key(LINE, "What the audit calls its holder.", True, {"minLength": 1, "maxLength": 100}),
        "scopes": Key(SCOPES, "What it may; no scope implies another.", True),
        "node": Key(LINE, "With `nodes:push`, and only with it: the node that it is for."),
        "networks": Key(LINES, "Where it may be used from, as 10.0.0.0/8; none is anywhere."),
        "expires_seconds": Key(
            SECONDS,
            "How long it counts; null for until it is revoked.",
            bounds={"exclusiveMinimum": 0, "maximum": tokens.EXPIRES_SECONDS_MAX},
        ),
    },
    example={"name": "deploy", "scopes": ["nodes:drain", "read"], "expires_seconds": 7_776_000},
)


class TokenSerializer(serializers.ModelSerializer[Token]):
    """A token, without its secret; its `prefix` is what addresses and the audit call it."""

    scopes = serializers.ListField(child=serializers.ChoiceField(choices=list(Scope)))
    networks = serializers.ListField(child=serializers.CharField())
    node = serializers.CharField(source="node.name", allow_null=True, default=None)

    class Meta:
        model = Token
        fields = [
            *("prefix", "name", "scopes", "node", "networks", "created_at", "created_by", "expires_at"),
            *("revoked_at", "last_used_at"),
        ]


class NewTokenSerializer(TokenSerializer):
    """A token just made; `token` is shown this once."""

    token = serializers.SerializerMethodField()

    class Meta(TokenSerializer.Meta):
        fields = [*TokenSerializer.Meta.fields, "token"]

    def get_token(self, token: Token) -> str:
        """Return the secret."""
        secret: str = self.context["secret"]
        return secret


IT = {"prefix": "$response.body#/prefix"}


class Tokens(View):
    """All tokens, newest first."""

    @operation(
        "tokens_list",
        answers={200: page_of("TokenPage", TokenSerializer)},
        right=Right.ADMIN,
        cursor=(int,),
    )
    def get(self, request: Request) -> Response:
        """Return a page of tokens, those that count no more too."""
        query = self.query(request)
        page = token_pages.page(cursor=query.cursor, rows=query.limit)
        return Response(query.keyset_page(page, TokenSerializer))

    @operation(
        "token_make",
        answers={201: NewTokenSerializer},
        right=Right.ADMIN,
        bodies=(BODY,),
        links={
            201: {
                "read": Link(to="token_read", parameters=IT),
                "revoke": Link(to="token_revoke", parameters=IT),
            }
        },
    )
    def post(self, request: Request) -> Response:
        """Make a token."""
        with self.attempt(request, Action.TOKEN_ISSUE, NEW):
            self.query(request)
            wanted = BODY.read(raw_json(request))
            node, scopes = node_in(wanted.get("node")), [Scope(scope) for scope in wanted["scopes"]]
            token, secret = tokens.issue(
                name=wanted["name"],
                scopes=scopes,
                node=node,
                networks=wanted.get("networks", ()),
                expires_seconds=wanted.get("expires_seconds"),
                actor=self.actor(request),
            )
        told = NewTokenSerializer(token, context={"secret": secret}).data
        where = reverse("api:token", args=[token.prefix])
        return Response(told, status=HTTPStatus.CREATED, headers={"Location": where})


class OneToken(View):
    """One token, by its public prefix."""

    @operation("token_read", answers={200: TokenSerializer}, right=Right.ADMIN)
    def get(self, request: Request, prefix: str) -> Response:
        """Return a token."""
        self.query(request)
        return Response(TokenSerializer(_named(prefix)).data)

    @operation("token_revoke", answers={200: TokenSerializer}, right=Right.ADMIN, filters=(REASON,))
    def delete(self, request: Request, prefix: str) -> Response:
        """Revoke a token, with its next request and its open sockets; again, nothing changes."""
        token = _named(prefix)
        with self.attempt(request, Action.TOKEN_REVOKE, f"token:{prefix}"):
            reason = self.query(request)["reason"]
            no_body(request)
            tokens.revoke(token=token, actor=self.actor(request), reason=reason)
        return Response(TokenSerializer(_named(prefix)).data)


def _named(prefix: str) -> Token:
    token = token_pages.of_prefix(prefix) if PREFIX.fullmatch(prefix) else None
    if token is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"There is no token {prefix[:80]!r}; its prefix names it.")
    return token
