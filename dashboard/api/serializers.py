"""How the API writes nodes and what is asked of them: ids as text, stamps in UTC, `_seconds` in names."""

from typing import Any

from rest_framework import serializers

from dashboard.models import Drain, DrainStep, ProviderHealth
from dashboard.selectors.observed import Observed
from dashboard.selectors.presence import Composite
from meshcore.breaker import BreakerState
from meshcore.drain import NodeState


class DrainWishSerializer(serializers.Serializer[Any]):
    """A drain that is asked for."""

    since = serializers.DateTimeField()
    by = serializers.CharField()
    reason = serializers.CharField(allow_blank=True)
    deadline_at = serializers.DateTimeField(allow_null=True)
    force = serializers.BooleanField()
    sticky = serializers.BooleanField()
    expires_at = serializers.DateTimeField(allow_null=True)


class OrderSerializer(serializers.Serializer[Any]):
    """What is asked of a node and how far it is, by the node's own word."""

    node = serializers.CharField(source="node.name")
    generation = serializers.IntegerField(source="desired.generation", help_text="Also the ETag.")
    observed_generation = serializers.IntegerField(source="node.observed_generation")
    observed = serializers.ChoiceField(
        choices=list(Observed),
        help_text="pending for 10 s, then not_acknowledged; silence is unreachable, never obedience.",
    )


class StepSerializer(serializers.ModelSerializer[DrainStep]):
    """A step of a drain, `at` by the clock of whoever saw it."""

    class Meta:
        model = DrainStep
        fields = ["step", "source", "at", "received_at", "generation", "in_flight", "edge", "detail"]


class DrainSerializer(serializers.ModelSerializer[Drain]):
    """One drain of one node, from the request to its end."""

    id = serializers.CharField()
    node = serializers.CharField(source="node.name")
    by = serializers.CharField(source="by_name")

    class Meta:
        model = Drain
        fields = [
            *("id", "node", "status", "by", "by_kind", "reason", "started_at", "ended_at", "deadline_at"),
            *("force", "sticky", "expires_at", "meta", "first_generation", "generation"),
        ]


class LastDrainSerializer(DrainSerializer):
    """A drain with its steps."""

    steps = StepSerializer(many=True)

    class Meta(DrainSerializer.Meta):
        fields = [*DrainSerializer.Meta.fields, "steps"]


class DrainStateSerializer(OrderSerializer):
    """An order, the node's own word on it, and the last drain. `safe_to_stop` is what to wait for."""

    drain = DrainWishSerializer(source="desired.drain", allow_null=True)
    state = serializers.ChoiceField(
        source="node.state", choices=list(NodeState), allow_blank=True, help_text="As the node says it."
    )
    accepting = serializers.BooleanField(source="node.accepting")
    in_flight = serializers.IntegerField(source="node.in_flight")
    edge = serializers.IntegerField(source="node.edge")
    safe_to_stop = serializers.BooleanField(source="node.safe_to_stop")
    last_heard_at = serializers.DateTimeField(source="node.last_heard_at", allow_null=True)
    last = LastDrainSerializer(allow_null=True)


class NodeSerializer(serializers.Serializer[Any]):
    """A node now; `state` is the one word for it, the figures are its own last word."""

    id = serializers.CharField(source="node.name")
    community = serializers.CharField(source="node.community")
    state = serializers.ChoiceField(choices=list(Composite))
    stale = serializers.BooleanField(source="presence.stale")
    age_seconds = serializers.FloatField(source="presence.age_seconds", allow_null=True)
    last_heard_at = serializers.DateTimeField(source="node.last_heard_at", allow_null=True)
    accepting = serializers.BooleanField(source="node.accepting")
    in_flight = serializers.IntegerField(source="node.in_flight")
    edge = serializers.IntegerField(source="node.edge")
    safe_to_stop = serializers.BooleanField(source="node.safe_to_stop")
    version = serializers.CharField(source="node.version", allow_blank=True)
    url = serializers.CharField(source="node.url", allow_blank=True)
    instance_id = serializers.CharField(source="node.instance_id", allow_blank=True)
    generation = serializers.IntegerField(source="order.generation")
    observed_generation = serializers.IntegerField(source="order.observed")
    draining = serializers.BooleanField(source="drains")


class BreakerSerializer(serializers.ModelSerializer[ProviderHealth]):
    """A breaker of a node."""

    state = serializers.ChoiceField(choices=list(BreakerState))

    class Meta:
        model = ProviderHealth
        fields = [
            *("key", "state", "strikes", "threshold", "backoff_seconds", "open_until", "cooling_until"),
            *("last_error", "since", "observed_at"),
        ]


class NodeDetailSerializer(NodeSerializer):
    """A node with its breakers and the whole of its readout."""

    breakers = BreakerSerializer(many=True)
    readout = serializers.DictField(source="node.readout")
    manifest = serializers.DictField(source="node.manifest")
    spool = serializers.DictField(source="node.spool")
    clock_skew_seconds = serializers.FloatField(source="node.clock_skew_seconds")
