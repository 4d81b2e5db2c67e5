"""`/api/v1/aliases`: the table that nodes go by in place of the one in their own file."""

from http import HTTPStatus
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api import orders
from dashboard.api.base import View, node_named
from dashboard.api.body import TABLE, TEXT, Key, Shape, no_body, raw_json
from dashboard.api.operation import REASON, Link, operation, page_of
from dashboard.api.orders import OneOrderedSerializer
from dashboard.api.preconditions import condition, etag
from dashboard.api.serializers import OrderSerializer
from dashboard.models import Action, DesiredState, Node
from dashboard.selectors import alias_pages
from dashboard.selectors.observed import Observed, desired_of, observed
from dashboard.services import aliases, audit
from dashboard.services.desired import Aliases
from dashboard.services.rights import Right
from meshcore.alias import CHAIN_MAX, ENTRY, NAME
from meshcore.clock import utcnow

ALL = "nodes:all"  # the target of a refusal that is about no node in particular
CHAIN = {
    "type": "array",
    "items": {"type": "string", "pattern": f"^{ENTRY.pattern}$"},
    "minItems": 1,
    "maxItems": CHAIN_MAX,
    "uniqueItems": True,
}
BODY = Shape(
    keys={
        "aliases": Key(
            TABLE,
            "Alias -> its chain of PROVIDER/MODEL, best first; taken whole or not at all.",
            required=True,
            bounds={"patternProperties": {f"^{NAME.pattern}$": CHAIN}, "additionalProperties": False},
        ),
        "reason": Key(TEXT, "Why; kept in the audit.", bounds={"maxLength": 500}),
    },
    example={"aliases": {"mesh/fast": ["groq/llama-3", "ollama/llama3"]}, "reason": "groq is back"},
)
ORDERED = {200: OneOrderedSerializer, 202: OneOrderedSerializer}


class NodeAliasesSerializer(OrderSerializer):
    """The table that a node shall go by, null for the one in its own file."""

    aliases = serializers.DictField(
        source="desired.aliases",
        child=serializers.ListField(child=serializers.CharField()),
        allow_null=True,
    )


class AliasRowSerializer(serializers.Serializer[DesiredState]):
    """How many aliases the dashboard wants of a node, null for its own file; the node's address has them."""

    node = serializers.CharField(source="node.name")
    aliases = serializers.SerializerMethodField()
    generation = serializers.IntegerField()
    observed_generation = serializers.IntegerField(source="node.observed_generation")

    def get_aliases(self, state: DesiredState) -> int | None:
        """Return how many there are."""
        return None if state.aliases is None else len(state.aliases)


class AllAliases(View):
    """The tables of all nodes."""

    @operation("aliases_list", answers={200: page_of("AliasPage", AliasRowSerializer)}, cursor=(str,))
    def get(self, request: Request) -> Response:
        """Return a page of nodes with how many aliases each is given, in order of their names."""
        query = self.query(request)
        after = str(query.place[0]) if query.place else ""
        found = alias_pages.page(after=after, rows=query.limit + 1)
        return Response(query.sliced(found, AliasRowSerializer, key=lambda state: (state.node.name,)))

    @operation("aliases_put_all", answers=orders.ORDERED, right=Right.ADMIN, bodies=(BODY,))
    def put(self, request: Request) -> Response:
        """Give all nodes one table."""
        with self.attempt(request, Action.ALIASES_PUT, ALL):
            self.query(request)
            wanted = BODY.read(raw_json(request))
            ordered = aliases.put(
                nodes=list(Node.objects.order_by("name")),
                table=wanted["aliases"],
                reason=wanted.get("reason", ""),
                actor=self.actor(request),
            )
        return orders.answer(ordered)


class NodeAliases(View):
    """The table of one node."""

    @operation("node_aliases_read", answers={200: NodeAliasesSerializer}, tagged=True)
    def get(self, request: Request, name: str) -> Response:
        """Return the table that the node shall go by."""
        self.query(request)
        node = node_named(name)
        state = {"node": node, "desired": desired_of(node), "observed": observed(node=node, now=utcnow())}
        return _answer(node, NodeAliasesSerializer(state).data, HTTPStatus.OK)

    @operation(
        "node_aliases_put",
        answers=ORDERED,
        right=Right.ADMIN,
        bodies=(BODY,),
        conditional=True,
        tagged=True,
        links={
            status: {"read": Link(to="node_aliases_read", parameters={"name": "$request.path.name"})}
            for status in ORDERED
        },
    )
    def put(self, request: Request, name: str) -> Response:
        """Give the node a table."""
        node = node_named(name)
        with self.attempt(request, Action.ALIASES_PUT, audit.node_target(name)):
            self.query(request)
            wanted = BODY.read(raw_json(request))
            return self._order(request, node, wanted["aliases"], wanted.get("reason", ""))

    @operation(
        "node_aliases_end",
        answers=ORDERED,
        right=Right.ADMIN,
        filters=(REASON,),
        conditional=True,
        tagged=True,
    )
    def delete(self, request: Request, name: str) -> Response:
        """Let the node go by its own file again."""
        node = node_named(name)
        with self.attempt(request, Action.ALIASES_PUT, audit.node_target(name)):
            query = self.query(request)
            no_body(request)
            return self._order(request, node, None, query["reason"])

    def _order(self, request: Request, node: Node, table: Aliases | None, reason: str) -> Response:
        [ordered] = aliases.put(
            nodes=[node],
            table=table,
            reason=reason,
            actor=self.actor(request),
            if_generation=condition(request, current=desired_of(node).generation),
        )
        node = node_named(node.name)
        how_far = observed(node=node, now=utcnow())
        status = HTTPStatus.OK if how_far is Observed.OBSERVED else HTTPStatus.ACCEPTED
        order: dict[str, Any] = {"node": node, "desired": desired_of(node), "observed": how_far}
        return _answer(node, OneOrderedSerializer({**order, "changed": ordered.changed}).data, status)


def _answer(node: Node, body: Any, status: HTTPStatus) -> Response:
    return Response(body, status=status.value, headers={"ETag": etag(desired_of(node).generation)})
