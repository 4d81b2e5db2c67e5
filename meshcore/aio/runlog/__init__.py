"""Logs of runs, by what keeps them: one primitive, compare-and-append, on several engines (runs.md).

base.py       the primitive, as a Protocol, and what can go wrong
hub.py        who hears of new records in this process
memory.py     one process: tests, and nodes that may forget
sqlite.py     one file that the nodes of a machine share; the default
jetstream.py  streams of a NATS server, one log for a whole mesh
worker.py     the threads of the file's reader and writer
open.py       a log by its URL
appending.py  one append carried out to its end, whatever gets lost
"""

from meshcore.aio.runlog.base import Conflict, EngineGone, OpenRun, RunLog
from meshcore.aio.runlog.open import open_run_log

__all__ = ["Conflict", "EngineGone", "OpenRun", "RunLog", "open_run_log"]
