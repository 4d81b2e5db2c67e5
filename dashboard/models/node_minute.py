"""Traffic by the minute of whole nodes, and of the whole mesh: kept for an hour."""

from django.db import models

from dashboard.models.node import Node


class Minute(models.Model):
    """Calls in one minute, whatever served them."""

    minute = models.DateTimeField()
    calls = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveBigIntegerField(default=0)
    failovers = models.PositiveBigIntegerField(default=0)
    counts = models.JSONField(default=dict)  # bucket number as text -> count above zero, of histogram.VERSION

    class Meta:
        abstract = True


class NodeMinute(Minute):
    """Calls of one node in one minute."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="all_minutes")

    class Meta:
        # also the index of selectors.fleet_traffic
        constraints = [models.UniqueConstraint(fields=["node", "minute"], name="one_row_per_node_minute")]
        indexes = [models.Index(fields=["minute"], name="node_minute_by_time")]  # node_minutes.trim

    def __str__(self) -> str:
        return f"{self.node} {self.minute:%H:%M}"


class MeshMinute(Minute):
    """Calls of all nodes in one minute: a row for each slot, so that no process waits for another's."""

    slot = models.PositiveSmallIntegerField()  # services.trace_ids

    class Meta:
        constraints = [
            # also the index of selectors.fleet_traffic
            models.UniqueConstraint(fields=["minute", "slot"], name="one_row_per_minute_and_slot")
        ]

    def __str__(self) -> str:
        return f"{self.minute:%H:%M}, slot {self.slot}"
