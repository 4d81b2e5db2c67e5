"""A node that notes in a journal what its spool has on disk: `python -m tests.e2e.journaled node …`.

`NODE_JOURNAL` is the file. A line says what is about to be written, the next one that it was: what has only
the first, because the process was killed in between, may be on disk or not. What is in memory alone, which is
at most 50 ms of it, has no line. `NODE_SPOOL_ITEMS`, if it is there, is the spool's bound in items. A lost
dashboard is dialled again soon: a short test has many connections.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from meshcore import redial
from meshcore.aio import spool_file
from meshcore.aio.link_client import LinkClient
from meshcore.aio.segments import SegmentStore
from meshcore.cli.main import main as run_meshcore
from meshcore.spool_entry import Entry, Gap, Record

REDIAL_SECONDS = 0.3


def main() -> int:
    """Run meshcore's command line with a spool that keeps a journal."""
    journal = os.open(os.environ["NODE_JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    redial.MAX_SECONDS = REDIAL_SECONDS
    LinkClient.__init__.__kwdefaults__["reconnect_backoff_s"] = REDIAL_SECONDS
    SegmentStore.write = _journaled(SegmentStore.write, journal)  # type: ignore[method-assign]
    if items := os.environ.get("NODE_SPOOL_ITEMS"):
        opened = spool_file.SpoolFile.open
        spool_file.SpoolFile.open = lambda home, _bytes, _items, **more: opened(  # type: ignore[method-assign, assignment]
            home, 1 << 20, int(items), **more
        )
    return run_meshcore(sys.argv[1:])


def _journaled(
    write: Callable[[SegmentStore, list[Entry]], None], journal: int
) -> Callable[[SegmentStore, list[Entry]], None]:
    def journaled(store: SegmentStore, entries: list[Entry]) -> None:
        if not entries:
            return
        _note(journal, {"begun": [_name(entry) for entry in entries]})
        write(store, entries)
        _note(journal, {"written": entries[-1].last})

    return journaled


def _note(journal: int, line: dict[str, Any]) -> None:
    os.write(journal, json.dumps(line).encode() + b"\n")


def _name(entry: Entry) -> dict[str, Any]:
    """Return what tells an item from others in the database."""
    if isinstance(entry, Gap):
        return {"kind": "gap", "dropped": entry.counts}
    name = _NAMES.get(entry.kind)
    return {"kind": entry.kind} | (name(entry) if name else {})


def _trace(entry: Record) -> dict[str, Any]:
    return {"id": json.loads(entry.body)["trace"]["trace_id"]}


def _transition(entry: Record) -> dict[str, Any]:
    item = json.loads(entry.body)
    return {"id": [item[name] for name in ("at", "key", "from_state", "to_state")]}


def _step(entry: Record) -> dict[str, Any]:
    item = json.loads(entry.body)
    return {"id": [item["at"], item["step"], item["generation"]]}


def _histogram(entry: Record) -> dict[str, Any]:
    return {"count": sum(json.loads(entry.body)["counts"].values())}


_NAMES: dict[str, Callable[[Record], dict[str, Any]]] = {
    "trace": _trace,
    "transition": _transition,
    "drain_step": _step,
    "histogram": _histogram,
}


if __name__ == "__main__":
    sys.exit(main())
