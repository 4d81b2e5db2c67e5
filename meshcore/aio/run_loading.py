"""Reads a run's log into a state, be it only its end that is left."""

from meshcore.aio.runlog import RunLog
from meshcore.aio.runlog.appending import behind
from meshcore.errors import CallError, Code
from meshcore.run_events import End
from meshcore.run_record import EMPTY, Head, Record
from meshcore.run_writer import RunWriter
from meshcore.runs import RunState


async def load(log: RunLog, run_id: str, instance: str = "") -> RunWriter:
    """Return a writer, as `instance`, that has read all of a run. Raises RunMissing, EngineGone."""
    writer = RunWriter(instance)
    stored = [each async for each in behind(log, run_id, EMPTY)]
    if not stored:
        raise RunMissing(run_id)
    first, head = stored[0]
    if first.first_seq > 1:
        return RunWriter(instance, trimmed(first), Head(first.last_seq, head.token))
    writer.behind(stored)
    return writer


def trimmed(record: Record) -> RunState:
    """Return the state of a run of whose log only the last record is left."""
    state = RunState()
    state.last_seq = record.last_seq
    state.end = next((event for event in record.events if isinstance(event, End)), None)
    return state


class RunMissing(CallError):
    """A run isn't there, or isn't the caller's."""

    def __init__(self, run_id: str) -> None:
        super().__init__(Code.NOT_FOUND, f"no run {run_id[:100]!r}")
