"""What a node shall do."""

from django.db import models

from dashboard.models.node import Node


class DesiredState(models.Model):
    """The whole desired state of a node; a change raises `generation`, so an old order can't come back."""

    node = models.OneToOneField(Node, on_delete=models.CASCADE, related_name="desired")
    generation = models.PositiveBigIntegerField(default=0)
    drain = models.JSONField(null=True)  # meshcore.frames.DesiredDrain
    overrides = models.JSONField(default=list)  # meshcore.override.Override
    aliases = models.JSONField(null=True)  # alias -> its chain; null: the node's own file
    changed_at = models.DateTimeField()
    override_expires_at = models.DateTimeField(null=True)  # when the next override is over

    class Meta:
        indexes = [
            models.Index(
                fields=["override_expires_at"], name="desired_by_expiry"
            )  # services.overrides.expire
        ]

    def __str__(self) -> str:
        return f"{self.node} generation {self.generation}"
