"""Roll-ups: histograms that add up, so every percentile on every page comes from merged buckets.

minutes  what nodes told, added up as it comes; kept 48 h
hours    each always replaced by the sum of its minutes; what is asked of long ranges
marks    of which hours that is still to do, and which have outlived their minutes
"""

from django.db import models

from dashboard.models.node import Node


class Rollup(models.Model):
    """Durations of one (node, provider, capability, outcome) in some time."""

    provider = models.CharField(max_length=100)
    capability = models.CharField(max_length=100)
    outcome = models.CharField(max_length=8)
    count = models.PositiveBigIntegerField(default=0)
    failovers = models.PositiveBigIntegerField(default=0)
    counts = models.JSONField(default=dict)  # bucket number as text -> count above zero
    histogram_version = models.PositiveSmallIntegerField(default=1)

    class Meta:
        abstract = True


class MinuteRollup(Rollup):
    """One minute."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="minutes")
    minute = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["node", "minute", "provider", "capability", "outcome"], name="one_rollup_per_minute"
            )
        ]
        indexes = [models.Index(fields=["minute"], name="rollup_by_minute")]  # selectors.traffic.read, .spans

    def __str__(self) -> str:
        return f"{self.node} {self.minute:%H:%M} {self.provider}"


class HourRollup(Rollup):
    """One hour."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="hours")
    hour = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["node", "hour", "provider", "capability", "outcome"], name="one_rollup_per_hour"
            )
        ]
        indexes = [models.Index(fields=["hour"], name="rollup_by_hour")]  # selectors.spans, of all nodes

    def __str__(self) -> str:
        return f"{self.node} {self.hour:%Y-%m-%d %H} {self.provider}"


class HourMark(models.Model):
    """One node's hour that has minutes: `dirty` when they say more than its row.

    `sealed`: they came when earlier ones were gone, so they are added to the row instead of replacing it.
    """

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="hour_marks")
    hour = models.DateTimeField()
    dirty = models.BooleanField(default=True)
    sealed = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "hour"], name="one_mark_per_hour")]
        indexes = [
            models.Index(  # services.hours.make, selectors.spans
                fields=["hour"], condition=models.Q(dirty=True), name="hour_is_dirty"
            ),
            models.Index(  # services.hours.seal
                fields=["hour"], condition=models.Q(dirty=False), name="hour_is_made"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.node} {self.hour:%Y-%m-%d %H}"
