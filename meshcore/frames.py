"""The wire frames of the link, one frozen struct each (link-and-telemetry, "Frames").

`meshcore.framing` turns messages into these and back. Unknown keys are ignored, new fields have defaults.
Stamps are aware, numbers fit a database's big integer: what doesn't is refused where it enters.
"""

from typing import Annotated, Any, Literal

import msgspec

from meshcore.breaker import BreakerState
from meshcore.capability import Manifest
from meshcore.drain import Readout
from meshcore.frame_terms import Count, Number, Stamp
from meshcore.frame_terms import Frame as Frame  # who reads frames knows this module alone
from meshcore.run_reports import RunFacts, RunReport
from meshcore.stream_frames import Stream, StreamCredit, StreamEnd
from meshcore.trace import RoutingTrace

CONTRACT_VERSION = 1
MESSAGE_MAX_BYTES = 1 << 20
FRAME_MAX_BYTES = 256 << 10
WINDOW = 4  # telemetry frames without acknowledgement
BATCH_MAX_ITEMS = 500
PEERS_FRAME_MAX = 64  # peers named in one frame, said or taken back


class Hello(Frame, frozen=True, kw_only=True, tag="hello"):
    """First word of a node.

    `clock` is the node's present; who it is comes from its token, never from `node_id`. `spool_acknowledged`
    is how far this process was told that its spool is committed: a lower mark is one of a restored database.
    """

    node_id: str
    instance_id: str
    spool_id: str
    clock: Stamp
    manifest: Manifest
    contract_version: int = CONTRACT_VERSION
    boot_epoch: str = ""
    log_id: str = ""
    desired_generation: Number = 0
    spool_last_seq: Number = 0
    spool_acknowledged: Number = 0


class DesiredDrain(msgspec.Struct, frozen=True, kw_only=True):
    """A drain that the dashboard wants.

    `since` stays through updates, `deadline_at` None means no deadline.
    """

    since: Stamp
    by: str = ""
    reason: str = ""
    deadline_at: Stamp | None = None
    force: bool = False
    sticky: bool = False
    expires_at: Stamp | None = None


class Desired(Frame, frozen=True, kw_only=True, tag="desired"):
    """The whole desired state of a node; a lower or equal generation is ignored."""

    generation: Number
    drain: DesiredDrain | None = None
    overrides: tuple[dict[str, Any], ...] = ()
    aliases: dict[str, list[str]] | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the dashboard allows on this connection."""

    window: Annotated[int, msgspec.Meta(ge=1, le=64)] = WINDOW
    max_frame_bytes: Annotated[int, msgspec.Meta(ge=4096)] = FRAME_MAX_BYTES
    health_seconds: Annotated[float, msgspec.Meta(ge=0.01, le=60.0)] = 1.0
    telemetry_seconds: Annotated[float, msgspec.Meta(ge=0.0, le=60.0)] = (
        0.0  # rest behind a frame with all there is
    )


class DescriptorBody(msgspec.Struct, frozen=True, kw_only=True):
    """Only `contract_version` is required; `resume_from` is the mark, exclusive."""

    contract_version: int
    resume_from: Number = 0
    spool_reset: bool = False
    resume_after_seconds: float = 0.0
    desired: Desired | None = None
    limits: Limits = Limits()


class Descriptor(Frame, frozen=True, kw_only=True, tag="descriptor"):
    """Answers hello; the first one resolves the handshake."""

    descriptor: DescriptorBody


class BreakerReport(msgspec.Struct, frozen=True, kw_only=True):
    """A breaker now.

    `seconds_remaining` counts from the health frame's `at`; `since` is when the state began.
    """

    key: str
    state: BreakerState
    strikes: Count = 0
    threshold: Count = 2
    backoff_seconds: float = 60.0
    seconds_remaining: float | None = None
    cooling_seconds: float | None = None
    last_error: str = ""
    since: Stamp | None = None


class SpoolReport(msgspec.Struct, frozen=True, kw_only=True):
    """The spool now: items waiting, last number given out, items dropped since this spool began, by kind.

    `reset_at`: when it was found to be on a disk that was set back, and took a new name.
    """

    size: Count = 0
    last_seq: Number = 0
    dropped: dict[str, Count] = {}
    reset_at: Stamp | None = None


class Health(Frame, frozen=True, kw_only=True, tag="health"):
    """The source of current state.

    `no` rises within a connection; `full` means that breakers not listed don't exist, nor runs of this node
    unless `runs_more` says how many it had no room for. A node gives all its breakers and runs and any
    `no`; `meshcore.link` numbers the frame and leaves out what didn't change.
    """

    no: Number
    at: Stamp
    node: Readout
    full: bool = False
    breakers: tuple[BreakerReport, ...] = ()
    runs: tuple[RunReport, ...] = ()  # that it owns, or that have just ended
    runs_more: Count = 0
    spool: SpoolReport = SpoolReport()
    version: str = ""


class TraceItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="trace", gc=False):
    """A finished call."""

    seq: Number
    at: Stamp
    trace: RoutingTrace


class TransitionItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="transition"):
    """A breaker changed state.

    History, never present state. `count` > 1: transitions merged by a full spool.
    """

    seq: Number
    at: Stamp
    key: str
    from_state: BreakerState
    to_state: BreakerState
    reason: str = ""
    evidence: str = ""  # traffic, probe, operator, time
    actor: str = ""
    count: Count = 1


class DrainStepItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="drain_step"):
    """A step of a drain on the node's side; `generation` 0 for a local one."""

    seq: Number
    at: Stamp
    generation: Number
    step: str  # acknowledged, gate_closed, in_flight, drained, safe_to_stop, gate_opened
    in_flight: Count = 0
    edge: Count = 0
    detail: str = ""


class HistogramItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="histogram"):
    """Durations of 10 s of one (provider, capability, outcome): bucket number as text -> count above zero."""

    seq: Number
    at: Stamp  # begin of the 10 s
    provider: str
    capability: str
    outcome: Literal["ok", "error"]
    counts: dict[str, Count]
    failovers: Count = 0
    histogram_version: int = 1


class RunEndItem(RunFacts, frozen=True, kw_only=True, tag_field="kind", tag="run_end"):
    """A run ended, by the word of the node that wrote its end; `usage` is OpenAI's."""

    seq: Number
    at: Stamp
    usage: dict[str, Any] | None = None


Item = TraceItem | TransitionItem | DrainStepItem | HistogramItem | RunEndItem


class Telemetry(Frame, frozen=True, kw_only=True, tag="telemetry"):
    """Everything in (after, to] of the spool.

    Items stay raw so that a bad one is refused alone. `dropped` by kind.
    """

    after: Number
    to: Number
    items: tuple[msgspec.Raw, ...] = ()
    dropped: dict[str, Count] = msgspec.field(default_factory=dict)


class PushedTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    """The same by HTTP, where no connection says which spool it is of."""

    spool_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[!-~]+$")]
    after: Number
    to: Number
    items: tuple[msgspec.Raw, ...] = ()
    dropped: dict[str, Count] = {}
    type: Literal["telemetry"] = "telemetry"


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """An item that was not stored, and why; it counts as delivered."""

    seq: Number
    reason: str


class Peers(Frame, frozen=True, kw_only=True, tag="peers"):
    """Which other nodes are there: what is another answer than before.

    `rev` counts the frames of a connection; 1 begins anew: what was said before it doesn't count any more.
    A manifest is the one of the peer's last hello, `draining` its present; one without capabilities was too
    long: the peer itself says what it offers.
    """

    rev: Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]
    upsert: Annotated[tuple[Manifest, ...], msgspec.Meta(max_length=PEERS_FRAME_MAX)] = ()
    remove: Annotated[tuple[str, ...], msgspec.Meta(max_length=PEERS_FRAME_MAX)] = ()


class TelemetryAck(Frame, frozen=True, kw_only=True, tag="telemetry_ack"):
    """Committed up to `to`."""

    to: Number
    refused: tuple[Refused, ...] = ()


class Rewind(Frame, frozen=True, kw_only=True, tag="rewind"):
    """There was a gap: start again behind `hwm`."""

    hwm: Number


class Inbound(Frame, frozen=True, kw_only=True, tag="inbound"):
    """An event for the node; with `bufferId` it is repeated until acknowledged."""

    event: dict[str, Any]
    bufferId: str | None = None


class InboundAck(Frame, frozen=True, kw_only=True, tag="inbound_ack"):
    """The handler took the event durably."""

    bufferId: str


class GoingIdle(Frame, frozen=True, kw_only=True, tag="going_idle"):
    """The node is about to close on purpose."""


class GoingIdleAck(Frame, frozen=True, kw_only=True, tag="going_idle_ack"):
    """The dashboard flipped the node to idle; closing is safe."""


FromNode = Hello | Health | Telemetry | InboundAck | GoingIdle | Stream | StreamEnd
FromDashboard = (
    Descriptor | TelemetryAck | Rewind | Desired | Inbound | Peers | GoingIdleAck | StreamCredit | StreamEnd
)
