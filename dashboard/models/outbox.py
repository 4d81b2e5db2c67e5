"""What nodes are asked to do once, until one of them says that it took it."""

import enum

from django.db import models

from dashboard.models.node import Node


class OutboxState(enum.StrEnum):
    """How an order stands; all but `WAITING` are terminal."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class OutboxRow(models.Model):
    """One order, sent again on every connection until it is acknowledged.

    It is for any node whose `log_id` begins with `log_prefix`; `node` is the one that it was sent to last.
    """

    buffer_id = models.CharField(max_length=64, unique=True)
    run_id = models.CharField(max_length=80)
    log_prefix = models.CharField(max_length=6)
    event = models.JSONField()  # as it is sent
    state = models.CharField(
        max_length=8, default=OutboxState.WAITING.value, choices=[(s.value, s.value) for s in OutboxState]
    )
    audit_n = models.PositiveBigIntegerField()  # the entry of whoever asked first
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    node = models.ForeignKey(Node, null=True, on_delete=models.SET_NULL, related_name="outbox")
    connection_no = models.PositiveBigIntegerField(default=0)  # of `node`, when it was sent
    sent_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["run_id"],
                condition=models.Q(state=OutboxState.WAITING.value),
                name="one_waiting_cancel_per_run",
            )
        ]
        indexes = [
            models.Index(fields=["state", "log_prefix"], name="outbox_by_log"),  # selectors.outbox.waiting
            models.Index(fields=["state", "expires_at"], name="outbox_by_expiry"),  # services.outbox.expire
            models.Index(fields=["run_id", "-id"], name="outbox_by_run"),  # services.outbox.cancel_run
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.state}"
