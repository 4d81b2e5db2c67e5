"""Words that all who work on runs share."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from meshcore.aio.owned_calls import OwnedCalls
from meshcore.aio.runlog import RunLog
from meshcore.aio.time_limits import TimeLimits
from meshcore.clock import Clock, UtcNow
from meshcore.config_sections import OnBrokenStream


class Outcome(enum.Enum):
    """How an execution came to its end."""

    ENDED = enum.auto()
    RELEASED = enum.auto()
    FENCED = enum.auto()  # the run is somebody else's, or this instance may be taken for dead
    ENGINE_GONE = enum.auto()  # whether the last word is in the log nobody knows


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPolicy:
    """Bounds of a run, and what becomes of it when its stream breaks."""

    on_broken_stream: OnBrokenStream = OnBrokenStream.CONTINUE
    stall_seconds: float = 600.0  # without a chunk
    max_chunks: int = 200_000
    max_bytes: int = 64 << 20  # of all deltas


class Tools(NamedTuple):
    """What every execution of a runner works with; `ids` gives a new id for each append."""

    log: RunLog
    calls: OwnedCalls
    policy: ExecutionPolicy
    ids: Callable[[], str]
    clock: Clock
    utcnow: UtcNow
    random: Callable[[], float]
    limits: TimeLimits
