"""The stages that a change passes on its way from a node to open pages.

    python -m benchmarks.live_stages FILE serve --port N      `manage.py serve`, which notes them in FILE

Each line of FILE is a stage and when a change had passed it, on the clock of `time.perf_counter`, which is
the same in all processes of a machine (Linux: CLOCK_MONOTONIC).
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

LINK, COMMIT, FEED, RENDER = "node to link", "commit", "change feed", "render"
FIRST, LAST = "first page", "last page"
IN_SERVER = (LINK, COMMIT, FEED, RENDER)

Note = Callable[[str], None]
Stamp = tuple[str, float]


def read(path: Path) -> list[Stamp]:
    """Return what a server noted, in order."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(name, float(at)) for name, _, at in (line.rpartition(" ") for line in lines)]


def taken(stamps: Iterable[Stamp], *, begin: float, first: float, last: float) -> dict[str, float]:
    """Return the seconds that a change spent in each stage, of those that were noted.

    It began in the node at `begin`, and was on the first and the last page at `first` and `last`.
    """
    found, at = {}, begin
    stamps = [stamp for stamp in stamps if begin <= stamp[1] <= last]
    for name in IN_SERVER:
        passed = next((when for each, when in stamps if each == name and when >= at), None)
        if passed is not None:
            found[name], at = passed - at, passed
    return {**found, FIRST: first - at, LAST: last - first}


def by_stage(changes: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return the seconds of all changes for each stage, in the order of the stages."""
    names = (*IN_SERVER, FIRST, LAST)
    return {name: [each[name] for each in changes if name in each] for name in names}


def _note_stages(note: Note) -> None:
    """Wrap what a change passes in the server; what comes by the clock alone isn't noted."""
    from dashboard.ingest_writer import IngestWriter
    from dashboard.live.fanout import Fanout
    from dashboard.runtime import Runtime

    store, announce, message = IngestWriter.note_health, Runtime.announce, Fanout.message

    async def note_health(self: Any, said: Any, *, urgent: bool) -> bool:
        if urgent:
            note(LINK)
        counts = await store(self, said, urgent=urgent)
        if urgent:
            note(COMMIT)
        return counts

    def announced(self: Any, ids: Sequence[int], keys: Sequence[str]) -> None:
        if any(key.startswith("node:") for key in keys):
            note(FEED)
        announce(self, ids, keys)

    async def rendered(self: Any, page: str, no: int, owed: Any) -> str:
        text = await message(self, page, no, owed)
        if any(key.startswith("node:") for key in owed.keys):
            note(RENDER)
        return text

    IngestWriter.note_health = note_health  # type: ignore[method-assign]
    Runtime.announce = announced  # type: ignore[method-assign]
    Fanout.message = rendered  # type: ignore[method-assign]


def main(path: str, *arguments: str) -> None:
    """Do as `manage.py` does, and note stages in the file `path`."""
    import django
    from django.core.management import execute_from_command_line

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
    django.setup()
    with Path(path).open("w", buffering=1) as file:
        _note_stages(lambda name: print(name, time.perf_counter(), file=file))
        execute_from_command_line(["manage.py", *arguments])


if __name__ == "__main__":
    main(*sys.argv[1:])
