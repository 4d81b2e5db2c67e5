"""The primitive of runs: a log per run whose only write is compare-and-append (runs.md, "The primitive")."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from meshcore.errors import MeshError
from meshcore.liveness import Beat
from meshcore.run_record import Head, Record

RETENTION = timedelta(minutes=15)  # of an ended run's log, which has prompts and answers
END_KEPT = timedelta(hours=24)  # of its last record: so long an idempotency key finds its run
READ_RECORDS = 500  # at most, in one read


class Conflict(MeshError):
    """The log has moved: its end isn't the head that the append was for, and nothing was stored."""


class EngineGone(MeshError):
    """The engine didn't answer, or said that it can't; what was to be stored may be there all the same."""


class OpenRun(NamedTuple):
    """A run that may not have ended; `owner` is the instance of the last claim, "" where that isn't known."""

    run_id: str
    owner: str = ""


Stored = tuple[Record, Head]
"""A record with the log's end behind it."""


class Tail(Protocol):
    """Gives a run's records in order: no gap, nothing twice; never ends by itself, and is to be closed."""

    def __aiter__(self) -> AsyncIterator[Record]: ...

    async def __anext__(self) -> Record: ...

    async def next(self, within_seconds: float | None = None) -> list[Record]:
        """Return the next ones, as many as are there; [] when none came for so long. Raises EngineGone."""

    async def aclose(self) -> None:
        """Listen no more."""


class Feed(Protocol):
    """Gives (run, record) of all runs, but for records that have only chunks; to be closed.

    An empty run id says that some were passed over: the reader looks at all its runs.
    """

    def __aiter__(self) -> AsyncIterator[tuple[str, Record]]: ...

    async def __anext__(self) -> tuple[str, Record]: ...

    async def aclose(self) -> None:
        """Listen no more."""


class RunLog(Protocol):
    """Everything may raise EngineGone. `log_id` is random, stored in the log, and part of every run's id."""

    log_id: str

    @property
    def keeps_records(self) -> bool:
        """Whether `trim` keeps the `end` with all that is in its record, which then had better be alone."""

    async def append(self, run_id: str, head: Head, record: Record) -> Head:
        """Store a record behind `head` and return the new end. Raises Conflict, TooLarge."""

    async def read(self, run_id: str, after_seq: int = 0, *, limit: int = READ_RECORDS) -> Sequence[Stored]:
        """Return the next records that have anything behind `after_seq`, none for an unknown run."""

    def tail(self, run_id: str, after_seq: int = 0, *, is_new: bool = False) -> Tail:
        """Return a reader of what stands behind `after_seq`, then of what comes; it listens from now on.

        With `is_new` nothing that stands there is read: for who makes the run next, at an empty head, and
        gives the reader up when that conflicts.
        """

    def feed(self) -> Feed:
        """Return a reader of all runs; it listens from now on."""

    async def open_runs(self) -> Sequence[OpenRun]:
        """Return the runs that may not have ended: hints, of which a log says the truth."""

    async def amend(self, run_id: str, end: Head | None) -> None:
        """Correct a hint of `open_runs`: the run ended at `end`, or None, it was never made."""

    async def beat(self, beat: Beat) -> None:
        """Store a sign of life."""

    async def beats(self) -> Sequence[Beat]:
        """Return the last sign of life of each instance."""

    async def remove_beat(self, node: str, instance: str) -> None:
        """Say that an instance ended cleanly."""

    async def trim(self, now: datetime) -> int:
        """Forget ended runs past their retention, all but the `end` record; later that, too.

        Returns how many runs were touched, at most a bounded number at a time.
        """

    async def close(self) -> None:
        """Close connections and files; what waits is stored before."""
