"""The wire frames of the link, one frozen struct each (link-and-telemetry, "Frames").

JSON text, one object a line, several lines to a message allowed; `type` names the frame. Unknown keys and
unknown
types are ignored, new fields have defaults; a malformed line is skipped and counted.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from meshcore.breaker import BreakerState
from meshcore.capability import Manifest
from meshcore.drain import Readout
from meshcore.trace import RoutingTrace

CONTRACT_VERSION = 1
MESSAGE_MAX_BYTES = 1 << 20
FRAME_MAX_BYTES = 256 << 10
WINDOW = 4  # telemetry frames without acknowledgement
BATCH_MAX_ITEMS = 500


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all frames."""


class Hello(Frame, frozen=True, kw_only=True, tag="hello"):
    """First word of a node. `clock` is the node's present; who it is comes from its token, never from
    `node_id`.
    """

    node_id: str
    instance_id: str
    spool_id: str
    clock: datetime
    manifest: Manifest
    contract_version: int = CONTRACT_VERSION
    boot_epoch: str = ""
    log_id: str = ""
    desired_generation: int = 0
    spool_last_seq: int = 0


class DesiredDrain(msgspec.Struct, frozen=True, kw_only=True):
    """A drain that the dashboard wants; `since` stays through updates, `deadline_at` None means no
    deadline.
    """

    since: datetime
    by: str = ""
    reason: str = ""
    deadline_at: datetime | None = None
    force: bool = False
    sticky: bool = False
    expires_at: datetime | None = None


class Desired(Frame, frozen=True, kw_only=True, tag="desired"):
    """The whole desired state of a node; a lower or equal generation is ignored."""

    generation: int
    drain: DesiredDrain | None = None
    overrides: tuple[dict[str, Any], ...] = ()
    aliases: dict[str, list[str]] | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the dashboard allows on this connection."""

    window: int = WINDOW
    max_frame_bytes: int = FRAME_MAX_BYTES
    health_seconds: float = 1.0


class DescriptorBody(msgspec.Struct, frozen=True, kw_only=True):
    """Only `contract_version` is required; `resume_from` is the mark, exclusive."""

    contract_version: int
    resume_from: int = 0
    spool_reset: bool = False
    resume_after_seconds: float = 0.0
    desired: Desired | None = None
    limits: Limits = Limits()


class Descriptor(Frame, frozen=True, kw_only=True, tag="descriptor"):
    """Answers hello; the first one resolves the handshake."""

    descriptor: DescriptorBody


class BreakerReport(msgspec.Struct, frozen=True, kw_only=True):
    """A breaker now. `seconds_remaining` counts from the health frame's `at`; `since` is when the state
    began.
    """

    key: str
    state: BreakerState
    strikes: int = 0
    threshold: int = 2
    backoff_seconds: float = 60.0
    seconds_remaining: float | None = None
    cooling_seconds: float | None = None
    last_error: str = ""
    since: datetime | None = None


class SpoolReport(msgspec.Struct, frozen=True, kw_only=True):
    """The spool now: items waiting, last number given out, items dropped since this spool began, by kind."""

    size: int = 0
    last_seq: int = 0
    dropped: dict[str, int] = {}


class Health(Frame, frozen=True, kw_only=True, tag="health"):
    """The source of current state. `no` rises within a connection; `full` means breakers not listed don't
    exist.
    """

    no: int
    at: datetime
    node: Readout
    full: bool = False
    breakers: tuple[BreakerReport, ...] = ()
    spool: SpoolReport = SpoolReport()
    version: str = ""


class TraceItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="trace"):
    """A finished call."""

    seq: int
    at: datetime
    trace: RoutingTrace


class TransitionItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="transition"):
    """A breaker changed state; history, never present state. `count` > 1: transitions merged by a full
    spool.
    """

    seq: int
    at: datetime
    key: str
    from_state: BreakerState
    to_state: BreakerState
    reason: str = ""
    evidence: str = ""  # traffic, probe, operator, time
    actor: str = ""
    count: int = 1


class DrainStepItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="drain_step"):
    """A step of a drain on the node's side; `generation` 0 for a local one."""

    seq: int
    at: datetime
    generation: int
    step: str  # acknowledged, gate_closed, in_flight, drained, safe_to_stop, gate_opened
    in_flight: int = 0
    edge: int = 0
    detail: str = ""


class HistogramItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="histogram"):
    """Durations of 10 s of one (provider, capability, outcome): bucket number as text -> count above zero."""

    seq: int
    at: datetime  # begin of the 10 s
    provider: str
    capability: str
    outcome: Literal["ok", "error"]
    counts: dict[str, int]
    failovers: int = 0
    histogram_version: int = 1


class RunEndItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="run_end"):
    """A run ended."""

    seq: int
    at: datetime
    run_id: str
    status: str
    reason: str = ""


Item = TraceItem | TransitionItem | DrainStepItem | HistogramItem | RunEndItem


class Telemetry(Frame, frozen=True, kw_only=True, tag="telemetry"):
    """Everything in (after, to] of the spool; items stay raw so that a bad one is refused alone. `dropped`
    by kind.
    """

    after: int
    to: int
    items: tuple[msgspec.Raw, ...] = ()
    dropped: dict[str, int] = {}


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """An item that was not stored, and why; it counts as delivered."""

    seq: int
    reason: str


class TelemetryAck(Frame, frozen=True, kw_only=True, tag="telemetry_ack"):
    """Committed up to `to`."""

    to: int
    refused: tuple[Refused, ...] = ()


class Rewind(Frame, frozen=True, kw_only=True, tag="rewind"):
    """There was a gap: start again behind `hwm`."""

    hwm: int


class Inbound(Frame, frozen=True, kw_only=True, tag="inbound"):
    """An event for the node; with `bufferId` it is repeated until acknowledged."""

    event: dict[str, Any]
    bufferId: str | None = None  # the name on the wire


class InboundAck(Frame, frozen=True, kw_only=True, tag="inbound_ack"):
    """The handler took the event durably."""

    bufferId: str  # the name on the wire


class GoingIdle(Frame, frozen=True, kw_only=True, tag="going_idle"):
    """The node is about to close on purpose."""


class GoingIdleAck(Frame, frozen=True, kw_only=True, tag="going_idle_ack"):
    """The dashboard flipped the node to idle; closing is safe."""
