"""Traffic of whole nodes by the minute: what pages of all nodes read, instead of every provider's row."""

from django.db import models

from dashboard.models.node import Node


class NodeMinute(models.Model):
    """Calls of one node in one minute, whatever served them; kept for an hour."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="all_minutes")
    minute = models.DateTimeField()
    calls = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveBigIntegerField(default=0)
    failovers = models.PositiveBigIntegerField(default=0)
    counts = models.JSONField(default=dict)  # bucket number as text -> count above zero, of histogram.VERSION

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "minute"], name="one_row_per_node_minute")]
        indexes = [models.Index(fields=["minute"], name="node_minute_by_time")]  # selectors.fleet_traffic

    def __str__(self) -> str:
        return f"{self.node} {self.minute:%H:%M}"
