"""Room for orders on a full disk: a file beside the database that is given up when it is needed.

    held --- an order finds the disk full ---> given up, telemetry stopped, the order tried again
    held --- telemetry finds it full --------> telemetry stopped, the ballast kept for orders
    stopped, and there is room for the ballast and MARGIN besides -> made again, telemetry goes on

Nothing is lost meanwhile: telemetry that isn't stored isn't acknowledged, and nodes keep it in their spools.
SQLite only: a PostgreSQL server has a disk of its own.
"""

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, OperationalError, connection

from meshcore.clock import utcnow

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

BALLAST_BYTES = 16 << 20
MARGIN_BYTES = 32 << 20  # free beside the ballast before telemetry goes on: it must not stop again at once
FULL = 13  # SQLITE_FULL
IO_ERROR = 10  # SQLITE_IOERR: of the shared memory of the write-ahead log a full disk is told so
HARDLY_ANY_BYTES = 256 << 10


class NoRoom(OperationalError):
    """The disk is full, and what the ballast gave wasn't enough either: nothing was changed."""


class TelemetryStopped(Exception):
    """There is no room for telemetry now; it stays with its node."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What pages say while the disk is full."""

    since: datetime
    ballast_left: bool


class Ballast:
    """The file at `path`, and what has to stop while it is needed; used by several threads."""

    def __init__(
        self,
        path: Path,
        *,
        size: int = BALLAST_BYTES,
        margin: int = MARGIN_BYTES,
        free: Callable[[Path], int] | None = None,
    ) -> None:
        self._path = path
        self._size = size
        self._margin = margin
        self._free = free or free_bytes
        self._lock = threading.Lock()
        self.stopped_at: datetime | None = None

    @property
    def held_bytes(self) -> int:
        """How much room it keeps, as it is really allocated."""
        try:
            return self._path.stat().st_blocks * 512
        except FileNotFoundError:
            return 0

    @property
    def notice(self) -> Notice | None:
        """What to say, None while all is well."""
        stopped_at = self.stopped_at
        return None if stopped_at is None else Notice(stopped_at, self.held_bytes >= self._size)

    def make(self) -> bool:
        """Take the room, if it isn't taken; False: there is none."""
        if self.held_bytes >= self._size:
            return True
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as exc:
            self._path.unlink(missing_ok=True)
            logger.warning("no room for the ballast of %d bytes at %s: %s", self._size, self._path, exc)
            return False
        return True

    def stop_telemetry(self, *, now: datetime | None = None) -> None:
        """Note that the disk is full."""
        with self._lock:
            if self.stopped_at is None:
                self.stopped_at = now or utcnow()
                logger.error(
                    "the disk of %s is full: telemetry stopped, nodes keep it in their spools",
                    self._path.parent,
                )

    def give_up(self) -> bool:
        """Give the room to whoever has an order; False: it was given already."""
        self.stop_telemetry()
        with self._lock:
            held = self.held_bytes > 0
            self._path.unlink(missing_ok=True)
        if held:
            logger.error("the ballast of %d bytes is given up for orders", self._size)
        return held

    def watch(self, *, now: datetime) -> bool:
        """Go on as before once there is room; returns whether it did."""
        if self.stopped_at is None:
            return False
        wanted = self._margin + (0 if self.held_bytes >= self._size else self._size)
        if self._free(self._path.parent) < wanted or not self.make():
            return False
        logger.warning("there is room again after %s: telemetry goes on", now - self.stopped_at)
        self.stopped_at = None
        return True


def free_bytes(folder: Path) -> int:
    """Return what can be written: what the disk has left, and the free pages in the database."""
    disk = os.statvfs(folder)
    with connection.cursor() as cursor:
        pages = cursor.execute("PRAGMA freelist_count").fetchone()[0]
        size = cursor.execute("PRAGMA page_size").fetchone()[0]
    return disk.f_bavail * disk.f_frsize + int(pages) * int(size)


_current: Ballast | None = None


def current() -> Ballast | None:
    """Return the ballast of this process, None where there is none: on PostgreSQL, in commands."""
    return _current


def is_full(exc: BaseException | None) -> bool:
    """Return whether an error of the database says that the disk is full."""
    while exc is not None:
        if isinstance(exc, sqlite3.Error):
            code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
            return code == FULL or (code == IO_ERROR and _hardly_any())
        exc = exc.__cause__
    return False


def _hardly_any() -> bool:
    if _current is None:
        return False
    disk = os.statvfs(_current._path.parent)
    return disk.f_bavail * disk.f_frsize < HARDLY_ANY_BYTES


def note(exc: Exception) -> bool:
    """Stop telemetry if `exc` says that the disk is full, and return whether it did: that is logged once."""
    if _current is None or not is_full(exc):
        return False
    _current.stop_telemetry()
    return True


def make_room(exc: DatabaseError) -> bool:
    """Give up the ballast if `exc` says that the disk is full; False: it doesn't, or there is no ballast."""
    if _current is None or not is_full(exc):
        return False
    _current.give_up()
    return True


def with_room(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return `function(...)`, an order; on a full disk the ballast is given up and it is called again.

    Only for what is one transaction: the first call must have changed nothing. Raises NoRoom.
    """
    try:
        return function(*args, **kwargs)
    except DatabaseError as exc:
        if not make_room(exc):
            raise
    try:
        return function(*args, **kwargs)
    except DatabaseError as exc:
        if is_full(exc):
            raise NoRoom("the disk is full") from exc
        raise


def without_ballast(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return `function(...)`, which stores telemetry; raises TelemetryStopped while the disk is full."""
    if _current is not None and _current.stopped_at is not None:
        raise TelemetryStopped
    try:
        return function(*args, **kwargs)
    except DatabaseError as exc:
        if _current is None or not is_full(exc):
            raise
        _current.stop_telemetry()
        raise TelemetryStopped from exc


@contextmanager
def beside(database: Path) -> Iterator[Ballast]:
    """Hold a ballast beside the database of this process; the file stays behind for the next one."""
    global _current
    _current = Ballast(database.with_name(f"{database.name}.ballast"))
    _current.make()
    try:
        yield _current
    finally:
        _current = None


def watch(*, now: datetime) -> bool:
    """Go on as before once there is room; a job. Returns whether it did."""
    return _current is not None and _current.watch(now=now)
