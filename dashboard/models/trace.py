"""Routing traces: a thin row for lists, the rest beside it."""

from django.db import models

from dashboard.models.node import Node
from meshcore.trace import Reason

SIGNATURE_MAX_CHARACTERS = 200

# Stored, so a reason keeps its bit for ever; a new one takes the next.
SKIP_BITS = {
    Reason.VERSION: 0,
    Reason.PARAMS: 1,
    Reason.UNCONFIGURED: 2,
    Reason.NO_TOOLS: 3,
    Reason.NO_VISION: 4,
    Reason.CONTEXT: 5,
    Reason.DRAINING: 6,
    Reason.STALE: 7,
    Reason.BREAKER_OPEN: 8,
    Reason.HALF_OPEN_BUSY: 9,
    Reason.COOLING: 10,
    Reason.FORCED_OPEN: 11,
    Reason.CAPACITY: 12,
    Reason.EXCLUDED: 13,
    Reason.HOP: 14,
}


class ErrorSignature(models.Model):
    """What errors of one kind have in common: their text without what differs from call to call."""

    text = models.CharField(max_length=SIGNATURE_MAX_CHARACTERS, unique=True)

    def __str__(self) -> str:
        return self.text


class Trace(models.Model):
    """One outermost call. `id` = ms << 20 | slot (6 bits) | counter (14 bits): id order is time order."""

    id = models.BigIntegerField(primary_key=True)
    trace_id = models.CharField(max_length=64)
    node = models.ForeignKey(  # found by trace_by_node: an index of its own would be the same once more
        Node, on_delete=models.CASCADE, related_name="traces", db_index=False
    )
    started_at = models.DateTimeField()
    received_at = models.DateTimeField()
    capability = models.CharField(max_length=100)
    caller = models.CharField(max_length=100, blank=True, default="")
    run_id = models.CharField(max_length=80, blank=True, default="")
    alias = models.CharField(max_length=100, blank=True, default="")
    model_asked = models.CharField(max_length=200, blank=True, default="")
    model_served = models.CharField(max_length=200, blank=True, default="")
    provider = models.CharField(max_length=100, blank=True, default="")
    routed_via = models.CharField(max_length=63, default="local")
    why = models.CharField(max_length=16, default="local")
    hops = models.PositiveSmallIntegerField(default=1)  # attempts made
    stream = models.BooleanField(default=False)
    outcome = models.CharField(max_length=8)  # ok, error
    code = models.CharField(max_length=40, blank=True, default="")
    error_signature = models.ForeignKey(  # without an index: an error is found by its outcome first
        ErrorSignature, null=True, on_delete=models.PROTECT, db_index=False, related_name="traces"
    )
    skipped = models.BigIntegerField(null=True)  # SKIP_BITS of why others were passed over; null: not known
    duration_ms = models.FloatField()
    ttft_ms = models.FloatField(null=True)
    tokens_in = models.PositiveIntegerField(null=True)
    tokens_out = models.PositiveIntegerField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["node", "-id"], name="trace_by_node"),  # selectors.traces.page, one node
            models.Index(fields=["provider", "-id"], name="trace_by_provider"),  # the same, one provider
            models.Index(fields=["outcome", "-id"], name="trace_by_outcome"),  # errors, and their signatures
            models.Index(fields=["alias", "-id"], name="trace_by_alias"),  # one alias
            models.Index(fields=["trace_id"], name="trace_by_trace_id"),  # selectors.traces.newest_called
            models.Index(  # selectors.runs.traces_of
                fields=["run_id", "-id"], condition=~models.Q(run_id=""), name="trace_by_run"
            ),
        ]

    def __str__(self) -> str:
        return self.trace_id


class TraceDetail(models.Model):
    """What only the trace's own page shows; the lists are the node's own words, structs of meshcore.trace."""

    trace = models.OneToOneField(Trace, on_delete=models.CASCADE, primary_key=True, related_name="detail")
    candidates = models.JSONField(default=list)
    attempts = models.JSONField(default=list)
    splices = models.JSONField(default=list)
    alias_skips = models.JSONField(default=list)
    message = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return str(self.trace_id)
