"""Nodes, their link and their spools."""

from django.core.validators import RegexValidator
from django.db import models

from meshcore.drain import NodeState

NODE_NAME = RegexValidator(r"^[a-z0-9][a-z0-9._-]{0,62}\Z", "1 to 63 of a-z 0-9 . _ - and not a sign first")


class Present(models.Manager["Node"]):
    """The nodes that weren't forgotten."""

    def get_queryset(self) -> "models.QuerySet[Node]":
        """Return them."""
        return super().get_queryset().filter(forgotten_at=None)


class Node(models.Model):
    """A gateway node. All from `instance_id` on is its own last word, of `health` and the handshake alone.

    A node that is forgotten stays behind its traces and drains, and nowhere else: `objects` leaves it out.
    """

    name = models.CharField(max_length=63, validators=[NODE_NAME])  # the node id of configuration and API
    community = models.CharField(max_length=63, default="default")
    created_at = models.DateTimeField()
    forgotten_at = models.DateTimeField(null=True)
    note = models.TextField(blank=True, default="")

    instance_id = models.CharField(max_length=64, blank=True, default="")
    boot_epoch = models.CharField(max_length=128, blank=True, default="")
    log_id = models.CharField(max_length=64, blank=True, default="")
    url = models.CharField(max_length=255, blank=True, default="")
    version = models.CharField(max_length=64, blank=True, default="")
    manifest = models.JSONField(default=dict)
    lost_items = models.PositiveBigIntegerField(default=0)  # that it had told and the restored database lacks
    lost_at = models.DateTimeField(null=True)  # when that was found
    clock_skew_seconds = models.FloatField(default=0.0)  # the node's clock minus ours, at hello

    state = models.CharField(
        max_length=16, default="", blank=True, choices=[(s.value, s.value) for s in NodeState]
    )
    accepting = models.BooleanField(default=False)
    in_flight = models.PositiveIntegerField(default=0)
    edge = models.PositiveIntegerField(default=0)
    safe_to_stop = models.BooleanField(default=False)
    observed_generation = models.PositiveBigIntegerField(default=0)
    readout = models.JSONField(default=dict)  # the whole of meshcore.drain.Readout
    spool = models.JSONField(default=dict)  # meshcore.frames.SpoolReport
    runs_more = models.PositiveIntegerField(default=0)  # that it owns beyond those that it tells of
    last_heard_at = models.DateTimeField(null=True)
    health_connection_no = models.PositiveBigIntegerField(default=0)
    health_no = models.PositiveBigIntegerField(default=0)

    objects = Present()
    everyone = models.Manager["Node"]()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(forgotten_at=None), name="one_node_of_a_name"
            )
        ]

    def __str__(self) -> str:
        return self.name


class NodeLink(models.Model):
    """The one connection of a node that counts; `connection_no` fences the others off."""

    node = models.OneToOneField(Node, on_delete=models.CASCADE, related_name="link")
    connection_no = models.PositiveBigIntegerField(default=0)
    instance_id = models.CharField(max_length=64, blank=True, default="")
    opened_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)  # null while the socket is open
    idle = models.BooleanField(default=False)  # it said going_idle before it closed

    def __str__(self) -> str:
        return f"{self.node} #{self.connection_no}"


class SpoolMark(models.Model):
    """How far a spool is committed: all items up to `hwm` are stored, refused or counted as dropped."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="marks")
    spool_id = models.CharField(max_length=64)
    connection_no = models.PositiveBigIntegerField(default=0)
    hwm = models.PositiveBigIntegerField(default=0)
    dropped = models.JSONField(default=dict)  # kind -> count
    refused = models.PositiveBigIntegerField(default=0)
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "spool_id"], name="one_mark_per_spool")]

    def __str__(self) -> str:
        return f"{self.node} {self.spool_id} {self.hwm}"
