"""The drain state machine and what a node says of it (drain-and-control §1)."""

import enum
from datetime import datetime

import msgspec


class NodeState(enum.StrEnum):
    """States of a node; the values are what is sent. `DRAINED` is only ever a value of the readout."""

    JOINING = "joining"
    RUNNING = "running"
    DRAINING = "draining"
    DRAINED = "drained"
    STOPPING = "stopping"
    STOPPED = "stopped"


class DrainSource(enum.StrEnum):
    """Who asks for the drain: the marker file on the machine, or the dashboard's desired state."""

    LOCAL = "local"
    DESIRED = "desired"


class DrainInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why the gate is closed."""

    source: DrainSource
    generation: int = 0  # 0 for a local drain
    since: datetime | None = None
    by: str = ""
    reason: str = ""
    deadline_at: datetime | None = None
    deadline_exceeded: bool = False
    sticky: bool = False


class InFlight(msgspec.Struct, frozen=True, kw_only=True):
    """Work that this node owns; `total` = runs + calls + streams + reserved; `at_start` = total when the
    gate closed.
    """

    runs: int = 0
    calls: int = 0
    streams: int = 0
    reserved: int = 0
    total: int = 0
    at_start: int = 0


class ActiveWork(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of work that a drain waits for; `kind` is call, stream or run."""

    id: str
    kind: str
    age_seconds: float
    provider: str = ""


ACTIVE_WORK_MAX = 20  # entries in a readout; the counts are complete, the list is for people


class Readout(msgspec.Struct, frozen=True, kw_only=True):
    """What the node says of its own state; the only source of `drained`."""

    state: NodeState
    accepting: bool
    drain: DrainInfo | None = None
    in_flight: InFlight = InFlight()
    edge: int = 0
    safe_to_stop: bool = False
    active_work: tuple[ActiveWork, ...] = ()
    observed_generation: int = 0
