"""Drains and their steps: what a certificate is made of."""

import enum

from django.db import models

from dashboard.models.node import Node


class DrainStatus(enum.StrEnum):
    """How a drain stands; all but `ACTIVE` are terminal."""

    ACTIVE = "active"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    ENDED_BY_RESTART = "ended_by_restart"


class StepSource(enum.StrEnum):
    """Who saw a step."""

    DASHBOARD = "dashboard"
    NODE = "node"


class Step(enum.StrEnum):
    """Steps of a drain that are known here; a newer node may report others, which are kept as they came."""

    REQUESTED = "requested"
    UPDATED = "updated"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    GATE_CLOSED = "gate_closed"
    IN_FLIGHT = "in_flight"
    DRAINED = "drained"
    SAFE_TO_STOP = "safe_to_stop"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    FORCED = "forced"
    MOVED = "moved"
    GATE_OPENED = "gate_opened"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    ENDED_BY_RESTART = "ended_by_restart"


STEP_MAX_CHARACTERS = 24


class Drain(models.Model):
    """One drain of one node, from the request to its end."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="drains")
    status = models.CharField(
        max_length=20, default=DrainStatus.ACTIVE.value, choices=[(s.value, s.value) for s in DrainStatus]
    )
    first_generation = models.PositiveBigIntegerField()
    generation = models.PositiveBigIntegerField()  # of the last update
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    by_kind = models.CharField(max_length=8)
    by_name = models.CharField(max_length=150)
    reason = models.TextField(blank=True, default="")
    deadline_at = models.DateTimeField(null=True)
    force = models.BooleanField(default=False)
    sticky = models.BooleanField(default=False)
    expires_at = models.DateTimeField(null=True)
    boot_epoch = models.CharField(
        max_length=128, blank=True, default=""
    )  # of the node when it was asked; "" unknown
    meta = models.JSONField(default=dict)
    override_guards = models.BooleanField(default=False)
    blockers = models.JSONField(default=list)  # meshcore.guards.Blocker that were overridden

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["node"],
                condition=models.Q(status=DrainStatus.ACTIVE.value),
                name="one_active_drain_per_node",
            )
        ]

    def __str__(self) -> str:
        return f"{self.node} since {self.started_at:%Y-%m-%d %H:%M:%S}"


class DrainStep(models.Model):
    """A step with its time, by whoever saw it; in_flight and edge as the node said them."""

    drain = models.ForeignKey(Drain, on_delete=models.CASCADE, related_name="steps")
    step = models.CharField(max_length=STEP_MAX_CHARACTERS)  # mostly a Step
    source = models.CharField(max_length=12, choices=[(s.value, s.value) for s in StepSource])
    at = models.DateTimeField()
    received_at = models.DateTimeField()
    generation = models.PositiveBigIntegerField(default=0)
    in_flight = models.PositiveIntegerField(null=True)
    edge = models.PositiveIntegerField(null=True)
    detail = models.TextField(blank=True, default="")

    class Meta:
        ordering = ["at", "id"]
        constraints = [
            models.UniqueConstraint(  # a spool may say a thing twice; it counts once
                fields=["drain", "step", "generation", "at", "in_flight", "edge"],
                condition=models.Q(source=StepSource.NODE.value),
                name="one_row_per_node_step",
            )
        ]

    def __str__(self) -> str:
        return f"{self.drain_id} {self.step}"
