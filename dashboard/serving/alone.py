"""One server to a database file.

Live pages and links live in the memory of one process: a second server on the same file would show what it
heard a second later, and steer nodes only by luck.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HANDOVER_SECONDS = 6.0  # a server that was told to stop is gone by then (serving.server.EXIT_SECONDS)
POLL_SECONDS = 0.1


class AlreadyServed(Exception):
    """Another process serves the same database; the text says which file holds the lock."""


@contextmanager
def alone(path: Path, *, seconds: float = HANDOVER_SECONDS) -> Iterator[None]:
    """Hold the lock at `path` while the context lasts; a predecessor that is stopping gets `seconds` to end.

    The kernel gives the lock back however its holder ends. Raises AlreadyServed.
    """
    give_up_at = time.monotonic() + seconds
    with path.open("a") as file:
        while not _locked(file.fileno()):
            if time.monotonic() > give_up_at:
                raise AlreadyServed(
                    f"another `serve` uses this database and holds {path}: SQLite takes one dashboard only"
                )
            time.sleep(POLL_SECONDS)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
