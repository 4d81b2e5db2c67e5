"""Provider health: the present, and its history."""

from django.db import models

from dashboard.models.node import Node
from meshcore.breaker import BreakerState

STATES = [(s.value, s.value) for s in BreakerState]


class ProviderHealth(models.Model):
    """One breaker of one node, now; written only from `health` frames."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="providers")
    key = models.CharField(max_length=200)  # provider, provider/model or node:<id>
    state = models.CharField(max_length=16, choices=STATES)
    strikes = models.PositiveIntegerField(default=0)
    threshold = models.PositiveIntegerField(default=2)
    backoff_seconds = models.FloatField(default=60.0)
    open_until = models.DateTimeField(null=True)  # observed_at + seconds_remaining
    cooling_until = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True, default="")
    since = models.DateTimeField(null=True)
    observed_at = models.DateTimeField()

    class Meta:
        ordering = ["key"]
        constraints = [models.UniqueConstraint(fields=["node", "key"], name="one_row_per_breaker")]

    def __str__(self) -> str:
        return f"{self.node} {self.key} {self.state}"


class Transition(models.Model):
    """A breaker changed state; arrives by the spool, so it may be old news."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="transitions")
    key = models.CharField(max_length=200)
    at = models.DateTimeField()
    received_at = models.DateTimeField()
    from_state = models.CharField(max_length=16, choices=STATES)
    to_state = models.CharField(max_length=16, choices=STATES)
    reason = models.TextField(blank=True, default="")
    evidence = models.CharField(max_length=16, blank=True, default="")
    actor = models.CharField(max_length=150, blank=True, default="")
    count = models.PositiveIntegerField(default=1)

    class Meta:
        indexes = [
            models.Index(fields=["node", "-at"], name="transition_by_node"),  # selectors.providers.history
            models.Index(fields=["-at"], name="transition_by_time"),  # selectors.providers.last_changes
        ]

    def __str__(self) -> str:
        return f"{self.node} {self.key} {self.from_state} -> {self.to_state}"
