"""One file of the spool: entries in the order of their numbers, the newest file grows."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import structlog

from meshcore import spool
from meshcore.aio.atomic_file import replace_file
from meshcore.spool import Tally
from meshcore.spool_entry import UNREADABLE, Entry, Gap, decode_segment, encode_entry

log = structlog.get_logger(__name__)

ENDING = ".segment"


@dataclass(slots=True)
class Segment:
    """A file of the spool, and what is known of it without reading it."""

    path: Path
    tally: Tally = field(default_factory=Tally)
    size: int = 0
    descriptor: int | None = None  # open while it grows
    entries: list[Entry] | None = None  # kept in memory while it grows
    merged: bool = False  # nothing more can be won by merging

    @classmethod
    def begun(cls, folder: Path, first: int) -> Self:
        """Return a new one that grows, named for its first number; raises OSError."""
        path = folder / f"{first:020d}{ENDING}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        return cls(path, descriptor=descriptor, entries=[])

    def append(self, entries: list[Entry]) -> None:
        """Append to one that grows; raises OSError, and then nothing of it is there."""
        assert self.descriptor is not None and self.entries is not None  # noqa: S101 - it grows
        data = b"".join(map(encode_entry, entries))
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        except OSError:
            os.ftruncate(self.descriptor, self.size)  # what of it was written doesn't count
            raise
        self.size += len(data)
        self.entries += entries
        for entry in entries:
            self.tally.count(entry)

    def retire(self) -> None:
        """Let it grow no more."""
        if self.descriptor is not None:
            os.close(self.descriptor)
        self.descriptor = self.entries = None

    def read(self) -> list[Entry]:
        """Return its entries.

        One that can't be read any more is a gap, else nothing behind it would be sent.
        """
        try:
            return decode_segment(self.path.read_bytes())
        except OSError as exc:
            log.error("spool.segment_lost", path=str(self.path), error=str(exc))
            lost = spool.add({UNREADABLE: len(self.tally.seqs)}, self.tally.dropped)
            return [Gap(self.tally.first, self.tally.last, lost)]

    def rewrite(self, entries: list[Entry]) -> None:
        """Let these be its entries; raises OSError, and then it is as it was. It grows no more."""
        self.retire()
        data = b"".join(map(encode_entry, entries))
        replace_file(self.path, data)
        self.tally, self.size = Tally.of(entries), len(data)


def scan(folder: Path) -> list[Segment]:
    """Return what the files in a folder have, in order; raises OSError.

    A file that has nothing is removed, and one that has nothing that isn't in the file before, too: that is
    left by a process that ended while it made one file of several.
    """
    found: list[Segment] = []
    for path in sorted(folder.glob(f"*{ENDING}")):
        segment = _found(path)
        if segment is None or (found and segment.tally.last <= found[-1].tally.last):
            path.unlink()
        else:
            found.append(segment)
    return found


def _found(path: Path) -> Segment | None:
    data = path.read_bytes()
    entries = decode_segment(data)
    return Segment(path, Tally.of(entries), len(data)) if entries else None
