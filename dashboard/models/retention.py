"""How far the removing of old history has come, and what is gone."""

import enum

from django.db import models


class History(enum.StrEnum):
    """What is removed in time; audit, drains and desired state are kept."""

    TRACES = "traces"
    TRANSITIONS = "transitions"
    HOURS = "hours"
    OUTBOX = "outbox"


class Removal(models.Model):
    """What was removed of one kind of history.

    Of traces: up to `swept_to` all that are of no further interest are gone; `counted` rows are there up to
    `counted_to`; `early` were removed before their time, for want of room.
    """

    kind = models.CharField(
        max_length=16, unique=True, choices=[(each.value, each.value) for each in History]
    )
    removed = models.PositiveBigIntegerField(default=0)
    early = models.PositiveBigIntegerField(default=0)
    removed_at = models.DateTimeField(null=True)  # when something last was
    swept_to = models.BigIntegerField(default=0)
    counted_to = models.BigIntegerField(default=0)
    counted = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.kind}: {self.removed}"
