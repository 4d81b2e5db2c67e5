"""The change feed: written last in a transaction that changes something shown; a hint follows its commit."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import connection, transaction

from dashboard import hints
from dashboard.models import Change

KEPT = timedelta(hours=1)  # who reads more rarely than this has to read everything again
FEED_LOCK = 0x6D657368  # PostgreSQL: held from the insert to the commit, so that ids commit in order
TRIM_ROWS = 5000  # at most so many at a time, about 20 ms

_gathering = threading.local()


def publish(*keys: str, now: datetime) -> None:
    """Say that what is shown under `keys` changed; call it last in the transaction.

    Keys: "node:<name>" (what it says of itself), "figures:<name>" (what it works on and its traffic, which
    changes all the time), "providers:<name>" (how its breakers stand), "transitions:<name>" (what they did,
    told behind that), "nodes" and "providers" (membership or order), "traces", "audit", "drains",
    "overrides", "tokens", "people" (who is signed in, and what they may), "runs" (some began, ended or
    changed hands), "run:<id>" (it is one of them), "runs:<node>" (those that the node owns),
    "orders:<node>" (something was ordered of the node: this alone wakes its link).
    """
    gathered: dict[str, None] | None = getattr(_gathering, "keys", None)
    if gathered is not None:
        gathered.update(dict.fromkeys(keys))
        return
    if connection.vendor == "postgresql":  # SQLite has one writer at a time anyway
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [FEED_LOCK])
    Change.objects.bulk_create([Change(key=key, at=now) for key in keys])
    transaction.on_commit(hints.wake)


@contextmanager
def together(*, now: datetime) -> Iterator[None]:
    """Publish what is published within, each key once, at the end: for one transaction with many changes.

    Whoever has published holds the feed's lock, and may then lock no more rows.
    """
    keys = _gathering.keys = dict[str, None]()
    try:
        yield
    finally:
        _gathering.keys = None
    if keys:
        publish(*keys, now=now)


def trim(*, now: datetime) -> int:
    """Delete rows older than an hour, at most `TRIM_ROWS`; returns how many: call again while it is that."""
    old = Change.objects.filter(at__lt=now - KEPT).order_by("at").values_list("id", flat=True)[:TRIM_ROWS]
    deleted, _ = Change.objects.filter(id__in=list(old)).delete()
    return deleted
