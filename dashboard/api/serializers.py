"""How the API writes nodes and what is asked of them: ids as text, stamps in UTC, `_seconds` in names."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from dashboard.api.problems import BlockerSerializer
from dashboard.models import ActorKind, DrainStatus, ProviderHealth, StepSource
from dashboard.selectors.drain_list import Standing
from dashboard.selectors.drain_record import DrainRecord, StepSeen
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


class StepSerializer(serializers.Serializer[Any]):
    """A step of a drain, `at` by the clock of whoever saw it."""

    step = serializers.CharField()
    # A field's own `source` stays as it is: declared fields are kept elsewhere.
    source = serializers.SerializerMethodField()  # type: ignore[assignment]
    at = serializers.DateTimeField()
    received_at = serializers.DateTimeField(source="heard_at")
    after_seconds = serializers.FloatField(help_text="From the request on.")
    generation = serializers.IntegerField()
    in_flight = serializers.IntegerField(allow_null=True)
    edge = serializers.IntegerField(allow_null=True)
    detail = serializers.CharField(allow_blank=True)

    @extend_schema_field(serializers.ChoiceField(choices=list(StepSource)))
    def get_source(self, step: StepSeen) -> str:
        """Return who saw it."""
        return (StepSource.DASHBOARD if step.here else StepSource.NODE).value


class DrainSerializer(serializers.Serializer[Any]):
    """One drain of one node, from the request to its end; what is null the node has not told."""

    id = serializers.CharField(source="drain.id")
    node = serializers.CharField(source="drain.node.name")
    status = serializers.ChoiceField(source="drain.status", choices=list(DrainStatus))
    standing = serializers.ChoiceField(choices=list(Standing), help_text="The one word for it.")
    by = serializers.CharField(source="drain.by_name")
    by_kind = serializers.ChoiceField(source="drain.by_kind", choices=list(ActorKind))
    reason = serializers.CharField(source="drain.reason", allow_blank=True)
    started_at = serializers.DateTimeField(source="drain.started_at")
    ended_at = serializers.DateTimeField(source="drain.ended_at", allow_null=True)
    deadline_at = serializers.DateTimeField(source="drain.deadline_at", allow_null=True)
    expires_at = serializers.DateTimeField(source="drain.expires_at", allow_null=True)
    force = serializers.BooleanField(source="drain.force")
    sticky = serializers.BooleanField(source="drain.sticky")
    meta = serializers.DictField(source="drain.meta")
    override_guards = serializers.BooleanField(source="drain.override_guards")
    blockers = BlockerSerializer(source="drain.blockers", many=True)
    first_generation = serializers.IntegerField(source="drain.first_generation")
    generation = serializers.IntegerField(source="drain.generation")
    in_flight_at_start = serializers.IntegerField(source="at_start", allow_null=True)
    in_flight = serializers.IntegerField(source="left", allow_null=True)
    drained_seconds = serializers.FloatField(allow_null=True, help_text="From the request on.")
    safe_to_stop_seconds = serializers.FloatField(source="safe_seconds", allow_null=True)
    lasted_seconds = serializers.FloatField(allow_null=True, help_text="Null while it goes on.")
    deadline_exceeded = serializers.BooleanField(source="exceeded")
    forced = serializers.BooleanField()
    killed = serializers.IntegerField(help_text="Calls that were ended by force.")
    runs_moved = serializers.IntegerField(source="moved", help_text="Runs that were handed to other nodes.")


class DrainRecordSerializer(DrainSerializer):
    """A drain with its newest steps from both sides; `steps_left_out` counts the older ones."""

    steps = StepSerializer(many=True)
    steps_left_out = serializers.IntegerField()

    def to_representation(self, instance: DrainRecord) -> dict[str, Any]:
        """Write the drain and its steps as one."""
        drain = DrainSerializer(instance.row).data
        steps = StepSerializer(instance.steps, many=True).data
        return {**drain, "steps": steps, "steps_left_out": instance.more}


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
    last = DrainRecordSerializer(allow_null=True)


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
    readout = serializers.DictField(source="stored.readout")
    manifest = serializers.DictField(source="stored.manifest")
    spool = serializers.DictField(source="stored.spool")
    clock_skew_seconds = serializers.FloatField(source="node.clock_skew_seconds")
