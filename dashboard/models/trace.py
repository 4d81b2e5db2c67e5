"""Routing traces: a thin row for lists, the rest beside it."""

from django.db import models

from dashboard.models.node import Node


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
    duration_ms = models.FloatField()
    ttft_ms = models.FloatField(null=True)
    tokens_in = models.PositiveIntegerField(null=True)
    tokens_out = models.PositiveIntegerField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["node", "-id"], name="trace_by_node"),
            models.Index(fields=["provider", "-id"], name="trace_by_provider"),
            models.Index(fields=["outcome", "-id"], name="trace_by_outcome"),
            models.Index(fields=["alias", "-id"], name="trace_by_alias"),
            models.Index(fields=["trace_id"], name="trace_by_trace_id"),
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
