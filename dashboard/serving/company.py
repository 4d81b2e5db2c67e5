"""Which processes may use a database together.

On SQLite one server, by a lock on a file beside it. On PostgreSQL all whose hints reach each other: each
holds a lock there, shared, while its connection lasts; a server whose channel layer is in memory holds it
alone.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper

from dashboard.engines import MEMORY_LAYER
from dashboard.serving.alone import HANDOVER_SECONDS, POLL_SECONDS, AlreadyServed, alone

SERVE_LOCK = 0x73657276  # PostgreSQL: who has it shared hears the others, who has it alone has nobody to hear


def hears_others() -> bool:
    """Return whether hints reach other processes."""
    return str(settings.CHANNEL_LAYERS["default"]["BACKEND"]) != MEMORY_LAYER


def in_company(*, seconds: float = HANDOVER_SECONDS) -> AbstractContextManager[None]:
    """Keep away servers that would not hear of what this one does, while the context lasts.

    Those that are stopping get `seconds` to end. Raises AlreadyServed.
    """
    if connection.vendor == "postgresql":
        return _on_postgresql(seconds)
    file = Path(str(connection.settings_dict["NAME"]))
    return alone(file.with_name(f"{file.name}.lock"), seconds=seconds)


@contextmanager
def _on_postgresql(seconds: float) -> Iterator[None]:
    own = connection.copy(NO_DB_ALIAS)  # outside the pool, which lends connections and takes them back
    give_up_at = time.monotonic() + seconds
    try:
        while not _locked(own):
            if time.monotonic() > give_up_at:
                raise AlreadyServed(_refusal())
            time.sleep(POLL_SECONDS)
        yield
    finally:
        own.close()


def _locked(own: BaseDatabaseWrapper) -> bool:
    function = "pg_try_advisory_lock_shared" if hears_others() else "pg_try_advisory_lock"
    with own.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [SERVE_LOCK])
        return bool(cursor.fetchone()[0])


def _refusal() -> str:
    whose = "which has no" if hears_others() else "and this one has no"
    return (
        f"another `serve` uses this database, {whose} CHANNEL_LAYER_URL=redis://…: "
        "they would not hear of each other"
    )
