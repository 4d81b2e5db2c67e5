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
from dashboard.selectors import access
from dashboard.selectors.access import TokenState, TokenTold
from dashboard.services import tokens
from dashboard.services.rights import Right
from meshcore.clock import utcnow

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


class TokenSerializer(serializers.Serializer[TokenTold]):
    """A token, without its secret; its `prefix` is what addresses and the audit call it."""

    prefix = serializers.CharField(source="token.prefix")
    name = serializers.CharField(source="token.name")
    state = serializers.ChoiceField(choices=list(TokenState))
    scopes = serializers.ListField(source="token.scopes", child=serializers.ChoiceField(choices=list(Scope)))
    node = serializers.SerializerMethodField(help_text="With nodes:push: the one that it is for.")
    networks = serializers.ListField(source="token.networks", child=serializers.CharField())
    created_at = serializers.DateTimeField(source="token.created_at")
    created_by = serializers.CharField(source="token.created_by")
    expires_at = serializers.DateTimeField(source="token.expires_at", allow_null=True)
    revoked_at = serializers.DateTimeField(source="token.revoked_at", allow_null=True)
    last_used_at = serializers.DateTimeField(source="token.last_used_at", allow_null=True)

    def get_node(self, told: TokenTold) -> str | None:
        """Return the name of the node."""
        return told.token.node.name if told.token.node else None


class NewTokenSerializer(TokenSerializer):
    """A token just made; `token` is shown this once."""

    token = serializers.SerializerMethodField()

    def get_token(self, told: TokenTold) -> str:
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
        found = access.tokens(cursor=query.cursor, rows=query.limit, now=utcnow())
        return Response(query.numbered(found.rows, TokenSerializer, older=found.older))

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
        told = NewTokenSerializer(_told(token), context={"secret": secret}).data
        where = reverse("api:token", args=[token.prefix])
        return Response(told, status=HTTPStatus.CREATED, headers={"Location": where})


class OneToken(View):
    """One token, by its public prefix."""

    @operation("token_read", answers={200: TokenSerializer}, right=Right.ADMIN)
    def get(self, request: Request, prefix: str) -> Response:
        """Return a token."""
        self.query(request)
        return Response(TokenSerializer(_told(_named(prefix))).data)

    @operation("token_revoke", answers={200: TokenSerializer}, right=Right.ADMIN, filters=(REASON,))
    def delete(self, request: Request, prefix: str) -> Response:
        """Revoke a token, with its next request and its open sockets; again, nothing changes."""
        token = _named(prefix)
        with self.attempt(request, Action.TOKEN_REVOKE, f"token:{prefix}"):
            reason = self.query(request)["reason"]
            no_body(request)
            tokens.revoke(token=token, actor=self.actor(request), reason=reason)
        return Response(TokenSerializer(_told(_named(prefix))).data)


def _named(prefix: str) -> Token:
    known = Token.objects.select_related("node").filter(prefix=prefix)
    token = known.first() if PREFIX.fullmatch(prefix) else None
    if token is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"There is no token {prefix[:80]!r}; its prefix names it.")
    return token


def _told(token: Token) -> TokenTold:
    return TokenTold(token=token, state=access.state_of(token, now=utcnow()))
