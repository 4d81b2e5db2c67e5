"""Exports of the audit trail as files: written whole or not at all, and verified like the trail itself.

A file appears under its name only when all of it is on disk; until then it is `NAME.part`.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from dashboard.services import audit_chain, audit_export
from dashboard.services.audit_chain import Head
from dashboard.services.audit_verify import Verdict, judged
from dashboard.services.audit_walk import Fault, Finding, Walk

LINE_MAX_CHARACTERS = 16 << 20  # no entry is nearly as long
FILE_MODE = 0o600  # it tells who did what, from where


class NotAnExport(ValueError):
    """The file is no whole export; the message says what is wrong with it."""


class Archive:
    """A file that is being written; `path` is its final name."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self.path = path
        self._file = file

    @property
    def part(self) -> Path:
        """Where it is until it is whole."""
        return _part(self.path)

    def write(self, text: str) -> None:
        """Write behind what was written."""
        self._file.write(text)

    def sync(self) -> None:
        """Wait until all of it is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Give it its name, for good."""
        self.sync()
        self.part.rename(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def new(path: Path) -> Iterator[Archive]:
    """Write a new file, for this user alone; raises FileExistsError when it is there, and OSError."""
    if path.exists():
        raise FileExistsError(f"{path} is there already; nothing was written")
    descriptor = os.open(_part(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            yield Archive(path, file)
    finally:
        _part(path).unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


class Reader:
    """Reads an export in JSON Lines that may still grow, and judges it entry by entry.

    Raises NotAnExport for what is no export, or one of a part of the trail, which is no chain.
    """

    def __init__(self, file: IO[str], *, exported: Head | None = None) -> None:
        self._file = file
        self._number = 0
        first = self._document(self._line())
        if first.get("meshboard_audit") != audit_export.VERSION:
            raise NotAnExport(f"its first line is not of an audit export, version {audit_export.VERSION}")
        if first.get("filter"):
            raise NotAnExport(f"it holds only what fits {first['filter']}: a part is no chain")
        self.start = _head(first.get("start"))
        self.end: Head | None = None
        self._walk = Walk(self.start, exported=exported)
        self.finding = self._walk.begin()

    @property
    def reached(self) -> Head:
        """The last entry that was read and is as it was written."""
        return self._walk.head

    def read_on(self) -> None:
        """Read what is there, up to the last line, the end of the file, or the first finding."""
        while self.finding is None and self.end is None and (line := self._line()):
            document = self._document(line)
            if document.get("end") is True:
                self.end = _head(document.get("head"))
                self.finding = self._walk.end(self.end)
            else:
                self.finding = self._judge(line, document)

    def _judge(self, line: str, document: dict[str, Any]) -> Finding | None:
        due = self.reached.n + 1
        text = audit_chain.canonical(document["entry"]) if "entry" in document else ""
        hash = str(document.get("hash"))
        finding = self._walk.step(
            n=audit_chain.read(text).n or due, text=text, hash=hash, difference=lambda facts: ""
        )
        if finding is None and line != audit_export.entry_line(text, hash):
            return Finding(Fault.CHANGED, due, f"line {self._number} is not as it was written")
        return finding

    def _line(self) -> str:
        line = self._file.readline(LINE_MAX_CHARACTERS)
        self._number += bool(line)
        if line and not line.endswith("\n"):
            raise NotAnExport(f"it was cut off in line {self._number}")
        return line

    def _document(self, line: str) -> dict[str, Any]:
        try:
            document = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError) as exc:
            raise NotAnExport(f"line {self._number} is not JSON") from exc
        if not isinstance(document, dict):
            raise NotAnExport(f"line {self._number} is no object")
        return document


def verify(path: Path, *, exported: Head | None = None) -> Verdict:
    """Verify an export of the whole trail by itself. Raises NotAnExport and OSError."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = Reader(file, exported=exported)
            reader.read_on()
    except UnicodeDecodeError as exc:
        raise NotAnExport("it is not UTF-8") from exc
    if reader.finding is None and reader.end is None:
        raise NotAnExport("its last line is missing: it was cut off")
    return judged(start=reader.start, head=reader.end or reader.reached, finding=reader.finding)


def head_of(path: Path) -> Head:
    """Return the head in the last line of an export, also of a part. Raises NotAnExport and OSError."""
    last = "{}"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            while line := file.readline(LINE_MAX_CHARACTERS):
                last = line
        document = json.loads(last)
    except ValueError as exc:
        raise NotAnExport("its last line is not JSON: it was cut off, or is no export") from exc
    if not isinstance(document, dict) or document.get("end") is not True:
        raise NotAnExport("its last line is missing: it was cut off, or is no export")
    return _head(document.get("head"))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _head(document: Any) -> Head:
    form = document if isinstance(document, dict) else {}
    n, hash = form.get("n"), form.get("hash")
    if not isinstance(n, int) or not isinstance(hash, str):
        raise NotAnExport("it names no head")
    return Head(n=n, hash=hash)
