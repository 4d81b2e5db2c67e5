"""`/api/v1/providers`, `breakers` and `breakers/overrides`: who is sick, and what operators want of it."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api import orders
from dashboard.api.base import View
from dashboard.api.body import LINE, SECONDS, TEXT, Key, Shape, choice, no_body, raw_json
from dashboard.api.operation import REASON, Filter, operation, page_of
from dashboard.api.reading import older_of
from dashboard.api.serializers import BreakerSerializer
from dashboard.models import Action as Audited
from dashboard.models import Node
from dashboard.selectors import breaker_pages
from dashboard.selectors.breaker_pages import BreakerFilter
from dashboard.services import audit, overrides
from dashboard.services.rights import Right
from meshcore.breaker import BreakerState
from meshcore.clock import utcnow
from meshcore.override import KEY_MAX_CHARACTERS, Action

UNREAD = "breaker:?"  # the target of a refusal whose body named none
TARGET_MAX_CHARACTERS = 200
NODE = Filter(name="node", says="Of this node alone.")
KEY = Filter(
    name="key", says="PROVIDER, PROVIDER/MODEL, or node:NAME.", required=True, at_most=KEY_MAX_CHARACTERS
)
FILTERS = (
    NODE,
    Filter(name="key", says="PROVIDER, PROVIDER/MODEL, or node:NAME for the way to another node."),
    Filter(name="provider", says="Of this provider and of each of its models."),
    Filter(name="state", says="In this state.", choices=tuple(state.value for state in BreakerState)),
)
BODY = Shape(
    keys={
        "key": Key(
            LINE,
            "PROVIDER, PROVIDER/MODEL, or node:NAME for the way to another node.",
            required=True,
            bounds={"minLength": 1, "maxLength": KEY_MAX_CHARACTERS},
        ),
        "action": Key(choice(list(Action)), "What to do with the breaker; a reset is done once.", True),
        "node": Key(LINE, "On this node alone; else on every node that has the provider."),
        "reason": Key(TEXT, "Why; shown on pages and kept in the audit.", bounds={"maxLength": 500}),
        "expires_seconds": Key(
            SECONDS,
            "End it by itself after this long; null for never. A reset has no end.",
            bounds={"exclusiveMinimum": 0, "maximum": overrides.EXPIRES_MAX_SECONDS},
        ),
    },
    example={"key": "groq", "action": "force_open", "reason": "bills too much", "expires_seconds": 3600},
)


class ProviderSerializer(serializers.Serializer[Any]):
    """A provider or one of its models as all nodes see it; `states` counts the nodes that are heard."""

    key = serializers.CharField()
    provider = serializers.CharField()
    model = serializers.CharField(allow_blank=True, help_text="Empty for the provider as a whole.")
    nodes = serializers.IntegerField(help_text="How many have told of it.")
    states = serializers.DictField(child=serializers.IntegerField())
    finding = serializers.CharField(
        source="finding.sentence", allow_blank=True, help_text="What it amounts to; empty while all is well."
    )
    down = serializers.IntegerField(source="finding.down", help_text="Nodes that see it down.")


class NodeBreakerSerializer(BreakerSerializer):
    """A breaker and the node that has it."""

    node = serializers.CharField(source="node.name")

    class Meta(BreakerSerializer.Meta):
        fields = ["node", *BreakerSerializer.Meta.fields]


class OverrideSerializer(serializers.Serializer[Any]):
    """What is wanted of one breaker of one node."""

    node = serializers.CharField(source="node.name")
    key = serializers.CharField(source="override.key")
    action = serializers.ChoiceField(source="override.action", choices=list(Action))
    by = serializers.CharField(source="override.actor", allow_blank=True)
    reason = serializers.CharField(source="override.reason", allow_blank=True)
    at = serializers.DateTimeField(source="override.at", allow_null=True)
    expires_at = serializers.DateTimeField(source="override.expires_at", allow_null=True)
    generation = serializers.IntegerField()
    observed_generation = serializers.IntegerField(source="node.observed_generation")


class Providers(View):
    """Providers, by key."""

    @operation("providers_list", answers={200: page_of("ProviderPage", ProviderSerializer)}, cursor=(str,))
    def get(self, request: Request) -> Response:
        """Return a page of providers and their models, in order of their keys."""
        query = self.query(request)
        after = str(query.place[0]) if query.place else ""
        found = breaker_pages.providers(after=after, rows=query.limit + 1, now=utcnow())
        return Response(query.sliced(found, ProviderSerializer, key=lambda row: (row.key,)))


class Breakers(View):
    """Breakers of all nodes."""

    @operation(
        "breakers_list",
        answers={200: page_of("BreakerPage", NodeBreakerSerializer)},
        filters=FILTERS,
        cursor=(int,),
    )
    def get(self, request: Request) -> Response:
        """Return a page of breakers, as their nodes told of them last."""
        query = self.query(request)
        wanted = BreakerFilter(
            node=query["node"], key=query["key"], provider=query["provider"], state=query["state"]
        )
        page = breaker_pages.breakers(wanted=wanted, cursor=query.cursor, rows=query.limit)
        return Response(query.numbered(page.rows, NodeBreakerSerializer, older=older_of(page)))


class Overrides(View):
    """What operators want of breakers."""

    @operation(
        "overrides_list",
        answers={200: page_of("OverridePage", OverrideSerializer)},
        filters=(NODE,),
        cursor=(str, str),
    )
    def get(self, request: Request) -> Response:
        """Return a page of overrides, by node and key."""
        query = self.query(request)
        node, key = query.place or ("", "")
        found = breaker_pages.overrides(node=query["node"], after=(str(node), str(key)), rows=query.limit + 1)
        return Response(query.sliced(found, OverrideSerializer, key=lambda row: row.place))

    @operation(
        "override_put",
        answers=orders.ORDERED,
        right=Right.BREAKERS,
        bodies=(BODY,),
        conditional=True,
    )
    def post(self, request: Request) -> Response:
        """Want something of a breaker, on one node or on every node that has the provider."""
        with self.attempt(request, Audited.BREAKER_FORCE_OPEN, UNREAD) as attempt:
            self.query(request)
            wanted = BODY.read(raw_json(request))
            action, node = Action(wanted.pop("action")), orders.node_in(wanted.get("node"))
            attempt.action, attempt.target = overrides.AUDITED[action], _target(node, wanted["key"])
            ordered = overrides.put(
                node=node,
                key=wanted["key"],
                action=action,
                reason=wanted.get("reason", ""),
                expires_seconds=wanted.get("expires_seconds"),
                actor=self.actor(request),
                if_generation=orders.only_at(request, node),
            )
        return orders.answer(ordered)

    @operation("override_lift", answers=orders.ORDERED, right=Right.BREAKERS, filters=(KEY, NODE, REASON))
    def delete(self, request: Request) -> Response:
        """Let a breaker go by its own evidence again, on one node or wherever it is overridden."""
        with self.attempt(request, Audited.BREAKER_LIFT, UNREAD) as attempt:
            query = self.query(request)
            no_body(request)
            node = orders.node_in(query["node"] or None)
            attempt.target = _target(node, query["key"])
            ordered = overrides.lift(
                node=node, key=query["key"], reason=query["reason"], actor=self.actor(request)
            )
        return orders.answer(ordered)


def _target(node: Node | None, key: str) -> str:
    return audit.node_target(node.name) if node else f"breaker:{key}"[:TARGET_MAX_CHARACTERS]
