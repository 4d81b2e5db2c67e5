"""Runs: what their owners say of them while they live, and what is left of them when they have ended."""

from django.db import models

from meshcore.run_events import RunStatus


class Run(models.Model):
    """One run, as nodes know it from its log.

    While it lives, its row is from `health` of the node that owns it; the item `run_end`, of who wrote the
    end, is its last word. Names are text: a run outlives its nodes, and its log may have nodes of another
    dashboard. `id` rises in the order in which runs were first heard of.
    """

    run_id = models.CharField(max_length=80, unique=True)
    status = models.CharField(max_length=10, choices=[(s.value, s.value) for s in RunStatus])
    reason = models.CharField(max_length=40, blank=True, default="")  # why it ended
    owner = models.CharField(max_length=63, blank=True, default="")  # node id; of an ended run the last one
    epoch = models.PositiveIntegerField(default=0)
    takeovers = models.PositiveIntegerField(default=0)
    last_seq = models.PositiveBigIntegerField(default=0)
    chunks = models.PositiveIntegerField(default=0)  # in the whole log
    capability = models.CharField(max_length=100, blank=True, default="")
    model = models.CharField(max_length=200, blank=True, default="")
    provider = models.CharField(max_length=100, blank=True, default="")  # that serves it now, or did last
    caller = models.CharField(max_length=100, blank=True, default="")
    epochs = models.JSONField(default=list)  # meshcore.run_reports.Epoch, oldest first
    releases = models.PositiveIntegerField(default=0)  # in the whole log
    cancelled_by = models.CharField(max_length=150, blank=True, default="")
    usage = models.JSONField(null=True)  # OpenAI's
    created_at = models.DateTimeField(null=True)  # by the clock of the node that made it
    first_heard_at = models.DateTimeField()
    heard_at = models.DateTimeField()  # when its row was last written
    ended_at = models.DateTimeField(null=True)
    told = models.BooleanField(default=False)  # by `run_end`: nothing more will come

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["owner", "-id"], name="run_by_owner"),  # selectors.runs.page
            models.Index(fields=["status", "-id"], name="run_by_status"),  # selectors.runs.page
            models.Index(  # selectors.runs.tally and page, services.runs.update
                fields=["owner", "status"], condition=models.Q(ended_at=None), name="run_alive"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.status}"
