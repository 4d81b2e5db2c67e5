"""One process to a folder: a lock that the kernel gives back however the holder ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshcore.errors import AlreadyRunning


@contextmanager
def held_lock(path: Path) -> Iterator[None]:
    """Hold the lock while the context lasts; raises AlreadyRunning, naming the holder, when another one does.

    The file stays; it says which process held it last. Raises OSError when it can't be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            file.seek(0)
            raise AlreadyRunning(str(path), holder=file.read(20).strip()) from exc
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
