"""Minute roll-ups: histograms that add up, so every percentile on every page comes from merged buckets."""

from django.db import models

from dashboard.models.node import Node


class MinuteRollup(models.Model):
    """Durations of one minute of one (node, provider, capability, outcome)."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="minutes")
    minute = models.DateTimeField()
    provider = models.CharField(max_length=100)
    capability = models.CharField(max_length=100)
    outcome = models.CharField(max_length=8)
    count = models.PositiveBigIntegerField(default=0)
    failovers = models.PositiveBigIntegerField(default=0)
    counts = models.JSONField(default=dict)  # bucket number as text -> count above zero
    histogram_version = models.PositiveSmallIntegerField(default=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["node", "minute", "provider", "capability", "outcome"], name="one_rollup_per_minute"
            )
        ]
        indexes = [models.Index(fields=["minute"], name="rollup_by_minute")]  # selectors.traffic.recent

    def __str__(self) -> str:
        return f"{self.node} {self.minute:%H:%M} {self.provider}"
