"""The change feed: what every process reads to know what to render again."""

from django.db import models


class Change(models.Model):
    """Something shown on a page changed; ids are in commit order."""

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(max_length=250)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["at"], name="change_by_age")]  # services.changes.trim

    def __str__(self) -> str:
        return f"{self.id} {self.key}"
