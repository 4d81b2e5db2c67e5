"""The link's protocol without input and output: what either side may say, when, and what it must close for.

    node        HELLO ──descriptor──> OPEN ──ask_idle──> GOING_IDLE ──going_idle_ack──> IDLE
    dashboard   HELLO ──hello──> ANSWERING ──descriptor──> OPEN ──going_idle──> IDLE

Both sides share three verbs: `receive_message` takes what came and returns the frames that count,
`frames_to_send` hands out what must be written, `next_deadline` says when `tick` has something to do by
itself. `closing` is set once the socket must be closed. The shells are `meshcore.aio.relay_transport` and
`dashboard.edge.link` (link-and-telemetry, "Rules").
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from meshcore import framing
from meshcore.clock import Clock
from meshcore.errors import FrameError, IllegalMove
from meshcore.frames import (
    Descriptor,
    DescriptorBody,
    Desired,
    Frame,
    FromDashboard,
    FromNode,
    GoingIdle,
    GoingIdleAck,
    Health,
    Hello,
    Inbound,
    InboundAck,
    Limits,
    Peers,
    Refused,
    Rewind,
    Telemetry,
    TelemetryAck,
)
from meshcore.link_streams import DashboardStreams, NodeStreams
from meshcore.link_terms import CloseCode, Closing, LinkPolicy, Phase
from meshcore.pulse import Pulse
from meshcore.stream_frames import Stream, StreamCredit, StreamEnd

__all__ = ["CloseCode", "Closing", "DashboardSide", "LinkPolicy", "NodeSide", "Phase", "Side"]


class Side:
    """What both ends of a connection have in common."""

    def __init__(self, *, reader: framing.FrameReader[Any], policy: LinkPolicy, clock: Clock) -> None:
        self.reader = reader
        self.policy = policy
        self.phase = Phase.HELLO
        self.closing: Closing | None = None
        self._clock = clock
        self._handshake_until = clock() + policy.handshake_seconds
        self._outgoing: list[bytes] = []

    def frames_to_send(self) -> list[bytes]:
        """Return the messages that are to be written now, in order, and forget them."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def next_deadline(self) -> float | None:
        """Return when `tick` must be called at the latest, by the clock, or None."""
        return self._handshake_until if self._in_handshake() else None

    def tick(self) -> None:
        """Close when the handshake took too long."""
        if self._in_handshake() and self._clock() >= self._handshake_until:
            seconds = self.policy.handshake_seconds
            self._close(CloseCode.HANDSHAKE_TIMEOUT, f"no handshake within {seconds:g} s")

    def _in_handshake(self) -> bool:
        return self.closing is None and self.phase in (Phase.HELLO, Phase.ANSWERING)

    def _say(self, frame: Frame) -> None:
        self._outgoing.append(framing.encode(frame))

    def _close(self, code: CloseCode, reason: str) -> None:
        self.closing = self.closing or Closing(code, reason)

    def _read(self, message: str | bytes) -> list[Any]:
        if self.closing:
            return []
        try:
            return self.reader.read(message)
        except FrameError as exc:
            self._close(CloseCode.MESSAGE_TOO_BIG, str(exc))
            return []


class NodeSide(Side):
    """The node's end of one connection; says hello as it is made."""

    def __init__(
        self, hello: Hello, *, clock: Clock, random: Callable[[], float], policy: LinkPolicy
    ) -> None:
        super().__init__(reader=framing.reader_from_dashboard(), policy=policy, clock=clock)
        self.limits = Limits()
        self.descriptor: DescriptorBody | None = None
        self.streams = NodeStreams(self._say)
        self._unanswered: deque[int] = deque()  # `to` of the telemetry frames under way
        self._pulse = Pulse(
            full_seconds=policy.full_health_seconds,
            gap_seconds=policy.health_gap_seconds,
            jitter=policy.health_jitter,
            clock=clock,
            random=random,
        )
        self._say(hello)

    def receive_message(self, message: str | bytes) -> list[FromDashboard]:
        """Return the frames that count; later descriptors, and answers to nothing, don't."""
        return [frame for frame in self._read(message) if self._counts(frame)]

    def _counts(self, frame: FromDashboard) -> bool:
        match frame:
            case Descriptor(descriptor=body):
                return self._open(body)
            case TelemetryAck(to=to):
                return self._answered(to)
            case Rewind():
                self._unanswered.clear()
                return True
            case GoingIdleAck():
                return self._idle()
            case StreamCredit() | StreamEnd():
                return self.streams.heard(frame)
            case _:
                return True

    def _open(self, body: DescriptorBody) -> bool:
        if self.phase is not Phase.HELLO:
            return False
        self.phase = Phase.OPEN
        self.descriptor, self.limits = body, body.limits
        self._pulse.start(body.limits.health_seconds)
        return True

    def _answered(self, to: int) -> bool:
        if to not in self._unanswered:
            return False
        while self._unanswered and self._unanswered[0] <= to:
            self._unanswered.popleft()
        return True

    def _idle(self) -> bool:
        if self.phase is not Phase.GOING_IDLE:
            return False
        self.phase = Phase.IDLE
        return True

    def window_left(self) -> int:
        """Return how many telemetry frames may be sent now."""
        if self.phase is Phase.HELLO:
            return 0
        return self.limits.window - len(self._unanswered)

    def send_telemetry(self, frame: Telemetry) -> None:
        """Say everything in (after, to].

        Raises IllegalMove when the window is full or the handshake isn't done.
        """
        if self.window_left() <= 0:
            raise IllegalMove(self.phase, "telemetry")
        self._unanswered.append(frame.to)
        self._say(frame)

    def health_changed(self) -> None:
        """Ask that health be said soon: a breaker or the drain changed."""
        self._pulse.hurry()

    def health_due(self) -> bool:
        """Return whether `send_health` should be called now."""
        return self._pulse.is_due()

    def send_health(self, health: Health) -> None:
        """Say the present, numbered; `health` has all breakers, of which those are sent that changed."""
        self._say(self._pulse.number(health))

    def acknowledge_inbound(self, buffer_id: str) -> None:
        """Say that an event's handler has taken it durably."""
        self._say(InboundAck(bufferId=buffer_id))

    def ask_idle(self) -> None:
        """Ask the dashboard to show this node as idle from now on; a second time asks nothing more."""
        if self.phase is Phase.HELLO:
            raise IllegalMove(self.phase, "going_idle")
        if self.phase is Phase.OPEN:
            self.phase = Phase.GOING_IDLE
            self._say(GoingIdle())

    def next_deadline(self) -> float | None:
        """Return when health is due or the handshake is too late."""
        return super().next_deadline() if self._in_handshake() else self._pulse.due_at()


class DashboardSide(Side):
    """The dashboard's end of one connection."""

    def __init__(self, *, clock: Clock, policy: LinkPolicy) -> None:
        super().__init__(reader=framing.reader_from_node(), policy=policy, clock=clock)
        self.limits = Limits()
        self.streams = DashboardStreams(self._say, lambda why: self._close(CloseCode.PROTOCOL_ERROR, why))
        self._unanswered: deque[int] = deque()  # `to` of the telemetry frames that wait for acknowledgement
        self._rewound_to: int | None = None  # frames sent before the node heard of the rewind are void

    def receive_message(self, message: str | bytes) -> list[FromNode]:
        """Return the frames that count; what breaks the rules of the link sets `closing`."""
        return [frame for frame in self._read(message) if self._counts(frame)]

    def _counts(self, frame: FromNode) -> bool:
        if self.closing:
            return False
        if self.phase is Phase.HELLO:
            return self._greeted(frame)
        match frame:
            case Hello():
                return False
            case Telemetry():
                return self._within_window(frame)
            case GoingIdle() if self.phase is Phase.OPEN:
                self.phase = Phase.GOING_IDLE
                return True
            case Stream() | StreamEnd():
                return self.streams.heard(frame)
            case _:
                return self.phase is not Phase.ANSWERING

    def _greeted(self, frame: FromNode) -> bool:
        if not isinstance(frame, Hello):
            self._close(CloseCode.PROTOCOL_ERROR, "expected hello first")
            return False
        self.phase = Phase.ANSWERING
        return True

    def _within_window(self, frame: Telemetry) -> bool:
        if self.phase is Phase.ANSWERING or frame.to <= frame.after:
            self._close(CloseCode.PROTOCOL_ERROR, f"telemetry ({frame.after}, {frame.to}] out of place")
            return False
        if self._rewound_to is not None and frame.after != self._rewound_to:
            return False
        self._rewound_to = None
        if len(self._unanswered) >= self.limits.window:
            self._close(
                CloseCode.WINDOW_EXCEEDED, f"more than {self.limits.window} frames without acknowledgement"
            )
            return False
        self._unanswered.append(frame.to)
        return True

    def send_descriptor(self, body: DescriptorBody) -> None:
        """Answer hello; raises IllegalMove when there was none or it was answered."""
        if self.phase is not Phase.ANSWERING:
            raise IllegalMove(self.phase, "descriptor")
        self.phase = Phase.OPEN
        self.limits = body.limits
        self._say(Descriptor(descriptor=body))

    def send_ack(self, to: int, refused: tuple[Refused, ...] = ()) -> None:
        """Say that everything up to `to` is committed."""
        while self._unanswered and self._unanswered[0] <= to:
            self._unanswered.popleft()
        self._say(TelemetryAck(to=to, refused=refused))

    def send_rewind(self, hwm: int) -> None:
        """Say that the node must begin again behind `hwm`; what is under way until it does is void."""
        self._unanswered.clear()
        self._rewound_to = hwm
        self._say(Rewind(hwm=hwm))

    def send_desired(self, desired: Desired) -> None:
        """Say the whole desired state."""
        self._say(desired)

    def send_inbound(self, inbound: Inbound) -> None:
        """Say an event."""
        self._say(inbound)

    def send_peers(self, peers: Peers) -> None:
        """Say which other nodes are there."""
        self._say(peers)

    def acknowledge_idle(self) -> None:
        """Say that the node is shown as idle; raises IllegalMove when it didn't ask."""
        if self.phase is not Phase.GOING_IDLE:
            raise IllegalMove(self.phase, "going_idle_ack")
        self.phase = Phase.IDLE
        self._say(GoingIdleAck())
