"""Reads the aliases of a node's configuration again: when its file changes, and when SIGHUP asks.

Only aliases are taken; everything else in the file needs a restart. The whole file must be good, or nothing
is taken.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from meshcore.alias import AliasBook, Table
from meshcore.errors import ConfigError

LOOK_SECONDS = 1.0  # between looks at the file; one is a single stat

logger = logging.getLogger(__name__)

_Fingerprint = tuple[int, int, int]
"""What changes when a file's content does: modification time in ns, size, inode."""


class AliasFile:
    """The file at `path`; `read` returns its aliases, or raises ConfigError."""

    def __init__(self, path: Path, read: Callable[[], Table], *, look_seconds: float = LOOK_SECONDS) -> None:
        self._path = path
        self._read = read
        self._look_seconds = look_seconds
        self._seen: _Fingerprint | None = (
            None  # so the first look reads: the file may have changed since the start
        )

    async def follow(self, book: AliasBook, hangup: asyncio.Event) -> None:
        """Keep `book` what the file says, until cancelled; `hangup` asks to read it, changed or not."""
        while True:
            asked = hangup.is_set()
            hangup.clear()
            await self.look(book, asked=asked)
            try:
                async with asyncio.timeout(self._look_seconds):
                    await hangup.wait()
            except TimeoutError:
                continue

    async def look(self, book: AliasBook, *, asked: bool = False) -> None:
        """Take the aliases if the file changed or somebody asked; a bad one changes nothing and is logged."""
        present = self._fingerprint()
        if not asked and present == self._seen:
            return
        self._seen = present
        try:
            table = await asyncio.to_thread(self._read)
        except ConfigError as exc:
            if book.refuse_file(str(exc)) or asked:
                logger.error("the aliases stay as they are: %s", exc)
            return
        if book.load(table) or asked:
            logger.info("%d aliases read from %s; in force are the %s's", len(table), self._path, book.source)

    def _fingerprint(self) -> _Fingerprint | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None  # reading it says why
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
