"""When somebody who typed wrong passwords may try again."""

from datetime import datetime

from axes.models import AccessAttempt
from django.conf import settings


def ends_at(*, username: str | None, address: str | None, now: datetime) -> datetime | None:
    """Return when `username` may sign in from `address` again, None when it may now; one query.

    `address` is as the throttle counts it (`edge.address.of_login`). Attempts are counted by browser, and
    those of one browser are forgotten together.
    """
    attempts = AccessAttempt.objects.filter(
        username=username, ip_address=address, attempt_time__gte=now - settings.AXES_COOLOFF_TIME
    )
    rows = list(attempts.order_by("attempt_time").values_list("attempt_time", "failures_since_start"))
    left = sum(failures for _, failures in rows)
    ends = None
    for at, failures in rows:
        if left < settings.AXES_FAILURE_LIMIT:
            break
        left -= failures
        ends = at + settings.AXES_COOLOFF_TIME
    return ends
