"""How the API writes what it tells: ids as text, stamps in UTC, `_seconds` in names."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from dashboard.api.drain_body import DrainAction
from dashboard.models import AuditEntry, Drain, DrainStep, ProviderHealth, Trace
from dashboard.selectors.observed import Observed
from dashboard.selectors.presence import Composite


class DrainWishSerializer(serializers.Serializer[Any]):
    """A drain that is asked for."""

    since = serializers.DateTimeField()
    by = serializers.CharField()
    reason = serializers.CharField()
    deadline_at = serializers.DateTimeField(allow_null=True)
    force = serializers.BooleanField()
    sticky = serializers.BooleanField()
    expires_at = serializers.DateTimeField(allow_null=True)


class DrainAskSerializer(serializers.Serializer[Any]):
    """What a drain may be asked for with; only documents the body, which `drain_body` reads."""

    action = serializers.ChoiceField(choices=[a.value for a in DrainAction], required=False)
    reason = serializers.CharField(required=False)
    deadline_seconds = serializers.FloatField(required=False, allow_null=True)
    force = serializers.BooleanField(required=False)
    sticky = serializers.BooleanField(required=False)
    expires_seconds = serializers.FloatField(required=False, allow_null=True)
    meta = serializers.DictField(required=False)
    override_guards = serializers.BooleanField(required=False)


class OrderSerializer(serializers.Serializer[Any]):
    """What is asked of a node and how far it is."""

    node = serializers.CharField(source="node.name")
    generation = serializers.IntegerField(source="desired.generation")
    observed_generation = serializers.IntegerField(source="node.observed_generation")
    observed = serializers.ChoiceField(choices=[o.value for o in Observed])
    drain = DrainWishSerializer(source="desired.drain", allow_null=True)


class DrainOrderSerializer(OrderSerializer):
    """The answer to an order; `was_draining` only with cancel."""

    action = serializers.ChoiceField(choices=[a.value for a in DrainAction])
    changed = serializers.BooleanField()
    was_draining = serializers.BooleanField(required=False)


class StepSerializer(serializers.ModelSerializer[DrainStep]):
    """A step of a drain, `at` by whoever saw it."""

    class Meta:
        model = DrainStep
        fields = ["step", "source", "at", "received_at", "generation", "in_flight", "edge", "detail"]


class LastDrainSerializer(serializers.ModelSerializer[Drain]):
    """A drain with its steps."""

    id = serializers.CharField()
    by = serializers.CharField(source="by_name")
    steps = StepSerializer(many=True)

    class Meta:
        model = Drain
        fields = [
            "id",
            "status",
            "by",
            "by_kind",
            "reason",
            "started_at",
            "ended_at",
            "deadline_at",
            "force",
            "sticky",
            "expires_at",
            "meta",
            "steps",
        ]


class DrainStateSerializer(OrderSerializer):
    """An order, the node's own word on it, and the last drain."""

    state = serializers.CharField(source="node.state")
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
    state = serializers.CharField(help_text=", ".join(Composite))
    stale = serializers.BooleanField(source="presence.stale")
    age_seconds = serializers.FloatField(source="presence.age_seconds", allow_null=True)
    last_heard_at = serializers.DateTimeField(source="node.last_heard_at", allow_null=True)
    accepting = serializers.BooleanField(source="node.accepting")
    in_flight = serializers.IntegerField(source="node.in_flight")
    edge = serializers.IntegerField(source="node.edge")
    safe_to_stop = serializers.BooleanField(source="node.safe_to_stop")
    version = serializers.CharField(source="node.version")
    url = serializers.CharField(source="node.url")
    instance_id = serializers.CharField(source="node.instance_id")
    generation = serializers.IntegerField(source="order.generation")
    observed_generation = serializers.IntegerField(source="order.observed")
    draining = serializers.BooleanField(source="drains")


class BreakerSerializer(serializers.ModelSerializer[ProviderHealth]):
    """A breaker of a node."""

    class Meta:
        model = ProviderHealth
        fields = [
            "key",
            "state",
            "strikes",
            "threshold",
            "backoff_seconds",
            "open_until",
            "cooling_until",
            "last_error",
            "since",
            "observed_at",
        ]


class NodeDetailSerializer(NodeSerializer):
    """A node with its breakers and the whole of its readout."""

    breakers = BreakerSerializer(many=True)
    readout = serializers.DictField(source="node.readout")
    manifest = serializers.DictField(source="node.manifest")
    spool = serializers.DictField(source="node.spool")
    clock_skew_seconds = serializers.FloatField(source="node.clock_skew_seconds")


class TraceSerializer(serializers.ModelSerializer[Trace]):
    """A call; `id` is the dashboard's number of it as text, `trace_id` the node's."""

    id = serializers.CharField()
    node = serializers.CharField(source="node.name")

    class Meta:
        model = Trace
        exclude: list[str] = []


class TraceStorySerializer(TraceSerializer):
    """A call with every candidate and attempt, as its node wrote them."""

    candidates = serializers.SerializerMethodField()
    attempts = serializers.SerializerMethodField()
    splices = serializers.SerializerMethodField()
    alias_skips = serializers.SerializerMethodField()
    message = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_candidates(self, trace: Trace) -> Any:
        """Return who was looked at."""
        return self.context["story"].candidates

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_attempts(self, trace: Trace) -> Any:
        """Return what was tried."""
        return self.context["story"].attempts

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_splices(self, trace: Trace) -> Any:
        """Return where another provider went on with a broken answer."""
        return self.context["story"].splices

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_alias_skips(self, trace: Trace) -> Any:
        """Return which entries of the alias were passed over."""
        return self.context["story"].alias_skips

    def get_message(self, trace: Trace) -> str:
        """Return the error's text."""
        message: str = self.context["story"].message
        return message


class AuditSerializer(serializers.ModelSerializer[AuditEntry]):
    """An entry with the text that was hashed, so that anybody can verify the chain."""

    class Meta:
        model = AuditEntry
        exclude: list[str] = []
