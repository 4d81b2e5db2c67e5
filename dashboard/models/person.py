"""What Django's own users don't have."""

from django.conf import settings
from django.db import models


class OneTimePassword(models.Model):
    """Somebody else knows this user's password: it opens the page for choosing an own one, and no other."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="one_time_password"
    )
    given_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.user)
