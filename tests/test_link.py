"""The link's protocol, both ends, without a socket."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meshcore.capability import Manifest
from meshcore.drain import NodeState, Readout
from meshcore.errors import IllegalMove
from meshcore.frames import (
    MESSAGE_MAX_BYTES,
    WINDOW,
    Descriptor,
    DescriptorBody,
    Desired,
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
from meshcore.link import CloseCode, DashboardSide, LinkPolicy, NodeSide, Phase, Side
from meshcore.pace import FOUR_A_SECOND
from meshcore.testing import START, ManualClock

HELLO = Hello(
    node_id="node-a", instance_id="i1", spool_id="s1", clock=START, manifest=Manifest(node_id="node-a")
)
HEALTH = Health(no=0, at=START, node=Readout(state=NodeState.RUNNING, accepting=True))
BODY = DescriptorBody(contract_version=1)


class Pair:
    """Two sides and what lies between them, in order."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        policy = LinkPolicy()
        self.node = NodeSide(HELLO, clock=self.clock, random=lambda: 0.5, policy=policy)
        self.dashboard = DashboardSide(clock=self.clock, policy=policy)

    def up(self) -> list[object]:
        """Carry what the node said to the dashboard."""
        return carry(self.node, self.dashboard)

    def down(self) -> list[object]:
        """Carry what the dashboard said to the node."""
        return carry(self.dashboard, self.node)

    def opened(self, body: DescriptorBody = BODY) -> "Pair":
        self.up()
        self.dashboard.send_descriptor(body)
        self.down()
        return self


def carry(source: Side, target: NodeSide | DashboardSide) -> list[object]:
    return [frame for message in source.frames_to_send() for frame in target.receive_message(message)]


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_the_node_says_hello_first_and_the_descriptor_opens_the_link(pair: Pair) -> None:
    heard = pair.up()
    pair.dashboard.send_descriptor(DescriptorBody(contract_version=1, resume_from=7))
    answer = pair.down()

    assert heard == [HELLO]
    assert answer == [Descriptor(descriptor=DescriptorBody(contract_version=1, resume_from=7))]
    assert pair.node.phase is pair.dashboard.phase is Phase.OPEN
    assert pair.node.descriptor is not None
    assert pair.node.descriptor.resume_from == 7


def test_only_the_first_descriptor_counts(pair: Pair) -> None:
    pair.opened()

    later = pair.node.receive_message(
        '{"type":"descriptor","descriptor":{"contract_version":9,"resume_from":1}}'
    )

    assert later == []
    assert pair.node.descriptor == BODY


def test_a_descriptor_needs_only_its_version(pair: Pair) -> None:
    frames = pair.node.receive_message('{"type":"descriptor","descriptor":{"contract_version":1,"new":true}}')

    assert len(frames) == 1
    assert pair.node.limits.window == WINDOW


@pytest.mark.parametrize("greeted", [False, True])
def test_a_handshake_that_takes_too_long_closes_on_both_sides(pair: Pair, greeted: bool) -> None:
    if greeted:
        pair.up()
    assert pair.node.next_deadline() == pair.dashboard.next_deadline() == pair.clock() + 30

    pair.clock.advance(29.9)
    pair.node.tick()
    pair.dashboard.tick()
    early = pair.node.closing, pair.dashboard.closing
    pair.clock.advance(0.1)
    pair.node.tick()
    pair.dashboard.tick()

    assert early == (None, None)
    assert pair.node.closing is not None
    assert pair.dashboard.closing is not None
    assert pair.node.closing.code is pair.dashboard.closing.code is CloseCode.HANDSHAKE_TIMEOUT
    assert pair.dashboard.next_deadline() is None


def test_an_open_link_has_no_handshake_to_be_late_for(pair: Pair) -> None:
    pair.opened()

    pair.clock.advance(100)
    pair.node.tick()
    pair.dashboard.tick()

    assert pair.node.closing is pair.dashboard.closing is None
    assert pair.dashboard.next_deadline() is None


def test_who_does_not_greet_is_not_let_in(pair: Pair) -> None:
    heard = pair.dashboard.receive_message('{"type":"going_idle"}\n{"type":"going_idle"}')

    assert heard == []
    assert pair.dashboard.closing is not None
    assert pair.dashboard.closing.code is CloseCode.PROTOCOL_ERROR
    assert pair.dashboard.receive_message('{"type":"going_idle"}') == []


def test_a_second_hello_changes_nothing(pair: Pair) -> None:
    pair.opened()

    assert (
        pair.dashboard.receive_message(
            b'{"type":"hello","node_id":"x","instance_id":"i","spool_id":"s",'
            b'"clock":"2026-01-01T00:00:00Z","manifest":{"node_id":"x"}}'
        )
        == []
    )
    assert pair.dashboard.closing is None


def test_what_a_node_says_before_the_descriptor_is_not_heard(pair: Pair) -> None:
    pair.up()

    assert pair.dashboard.receive_message('{"type":"inbound_ack","bufferId":"b1"}') == []
    assert pair.dashboard.closing is None


def test_telemetry_before_the_descriptor_breaks_the_rules(pair: Pair) -> None:
    pair.up()

    assert pair.dashboard.receive_message('{"type":"telemetry","after":0,"to":1}') == []
    assert pair.dashboard.closing is not None
    assert pair.dashboard.closing.code is CloseCode.PROTOCOL_ERROR


def test_telemetry_of_nothing_breaks_the_rules(pair: Pair) -> None:
    pair.opened()

    pair.dashboard.receive_message('{"type":"telemetry","after":3,"to":3}')

    assert pair.dashboard.closing is not None
    assert pair.dashboard.closing.code is CloseCode.PROTOCOL_ERROR


def test_a_node_keeps_to_its_window_and_an_acknowledgement_opens_it(pair: Pair) -> None:
    pair.opened()
    for at in range(WINDOW):
        pair.node.send_telemetry(Telemetry(after=at, to=at + 1))
    pair.up()

    with pytest.raises(IllegalMove):
        pair.node.send_telemetry(Telemetry(after=WINDOW, to=WINDOW + 1))
    pair.dashboard.send_ack(2, (Refused(seq=1, reason="bad"),))
    heard = pair.down()

    assert heard == [TelemetryAck(to=2, refused=(Refused(seq=1, reason="bad"),))]
    assert pair.node.window_left() == 2


def test_before_the_descriptor_the_window_is_shut(pair: Pair) -> None:
    assert pair.node.window_left() == 0


def test_one_frame_beyond_the_window_closes_4429(pair: Pair) -> None:
    pair.opened(DescriptorBody(contract_version=1, limits=Limits(window=2)))

    heard = [
        pair.dashboard.receive_message(f'{{"type":"telemetry","after":{at},"to":{at + 1}}}')
        for at in range(3)
    ]

    assert [len(frames) for frames in heard] == [1, 1, 0]
    assert pair.dashboard.closing is not None
    assert pair.dashboard.closing.code is CloseCode.WINDOW_EXCEEDED


def test_health_and_acknowledgements_are_outside_the_window(pair: Pair) -> None:
    pair.opened(DescriptorBody(contract_version=1, limits=Limits(window=1)))
    pair.node.send_telemetry(Telemetry(after=0, to=1))

    pair.node.send_health(HEALTH)
    pair.node.acknowledge_inbound("b1")
    kinds = [type(frame) for frame in pair.up()]

    assert kinds == [Telemetry, Health, InboundAck]
    assert pair.dashboard.closing is None


def test_an_acknowledgement_of_nothing_does_not_count(pair: Pair) -> None:
    pair.opened()
    pair.node.send_telemetry(Telemetry(after=0, to=5))

    assert pair.node.receive_message('{"type":"telemetry_ack","to":4}') == []
    assert pair.node.window_left() == WINDOW - 1


def test_after_a_rewind_what_was_under_way_is_void_and_the_node_begins_again(pair: Pair) -> None:
    pair.opened()
    for at in (5, 6, 7):
        pair.node.send_telemetry(Telemetry(after=at, to=at + 1))
    under_way = pair.node.frames_to_send()

    first = pair.dashboard.receive_message(under_way[0])
    pair.dashboard.send_rewind(3)
    void = [pair.dashboard.receive_message(message) for message in under_way[1:]]
    heard = pair.down()
    pair.node.send_telemetry(Telemetry(after=3, to=4))
    again = pair.up()
    pair.node.send_telemetry(Telemetry(after=4, to=5))

    assert len(first) == 1
    assert void == [[], []]
    assert heard == [Rewind(hwm=3)]
    assert again == [Telemetry(after=3, to=4)]
    assert len(pair.up()) == 1


def test_desired_state_events_and_peers_go_down(pair: Pair) -> None:
    pair.opened()
    peers = Peers(rev=1, upsert=(Manifest(node_id="node-b"),), remove=("node-c",))
    said = [Desired(generation=3), Inbound(event={"kind": "cancel"}, bufferId="b1"), peers]

    pair.dashboard.send_desired(Desired(generation=3))
    pair.dashboard.send_inbound(Inbound(event={"kind": "cancel"}, bufferId="b1"))
    pair.dashboard.send_peers(peers)

    assert pair.down() == said


def test_going_idle_is_asked_acknowledged_and_then_done(pair: Pair) -> None:
    pair.opened()

    pair.node.ask_idle()
    pair.node.ask_idle()
    asked = pair.up()
    still_serving = pair.dashboard.receive_message('{"type":"inbound_ack","bufferId":"b1"}')
    pair.dashboard.acknowledge_idle()
    answered = pair.down()

    assert asked == [GoingIdle()]
    assert len(still_serving) == 1
    assert answered == [GoingIdleAck()]
    assert pair.node.phase is pair.dashboard.phase is Phase.IDLE


def test_an_idle_acknowledgement_that_nobody_asked_for_does_not_count(pair: Pair) -> None:
    pair.opened()

    assert pair.node.receive_message('{"type":"going_idle_ack"}') == []
    assert pair.node.phase is Phase.OPEN


def test_moves_out_of_turn_are_refused(pair: Pair) -> None:
    with pytest.raises(IllegalMove):
        pair.node.ask_idle()
    with pytest.raises(IllegalMove):
        pair.dashboard.send_descriptor(BODY)
    with pytest.raises(IllegalMove):
        pair.dashboard.acknowledge_idle()


def test_a_message_beyond_its_bound_closes_1009(pair: Pair) -> None:
    pair.opened()

    assert pair.dashboard.receive_message("x" * (MESSAGE_MAX_BYTES + 1)) == []
    assert pair.dashboard.closing is not None
    assert pair.dashboard.closing.code is CloseCode.MESSAGE_TOO_BIG


def test_health_is_due_with_the_descriptor_and_at_the_pace_it_sets(pair: Pair) -> None:
    silent = pair.node.health_due()
    pair.opened(DescriptorBody(contract_version=1, limits=Limits(health_seconds=2.0)))

    due = pair.node.health_due()
    pair.node.send_health(HEALTH)
    heard = pair.up()

    assert (silent, due) == (False, True)
    assert [(frame.no, frame.full) for frame in heard if isinstance(frame, Health)] == [(1, True)]
    assert pair.node.next_deadline() == pair.clock() + 2.0
    pair.node.health_changed()
    assert pair.node.health_due()
    pair.node.send_health(HEALTH)
    pair.node.health_changed()
    assert pair.node.next_deadline() == pytest.approx(pair.clock() + FOUR_A_SECOND)


class Conversation(RuleBasedStateMachine):
    """A node with a spool of numbers talks to a dashboard with a mark, over wires that keep order.

    The dashboard may fail a frame at any time and rewind. Whatever happens the mark never skips a number and
    the window holds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair().opened()
        self.last = 0  # highest number in the spool
        self.after = 0  # where the node sends on
        self.mark = 0
        self.committed: list[int] = []
        self.queue: list[Telemetry] = []
        self.upward: list[bytes] = []
        self.downward: list[bytes] = []

    @rule(count=st.integers(1, 5))
    def spool(self, count: int) -> None:
        self.last += count

    @precondition(lambda self: self.after < self.last and self.pair.node.window_left() > 0)
    @rule(count=st.integers(1, 3))
    def send(self, count: int) -> None:
        to = min(self.after + count, self.last)
        self.pair.node.send_telemetry(Telemetry(after=self.after, to=to))
        self.after = to
        self.upward += self.pair.node.frames_to_send()

    @precondition(lambda self: self.upward)
    @rule()
    def hear_node(self) -> None:
        self.queue += self.pair.dashboard.receive_message(self.upward.pop(0))  # type: ignore[arg-type]

    @precondition(lambda self: self.queue)
    @rule(fails=st.booleans())
    def commit(self, fails: bool) -> None:
        frame = self.queue.pop(0)
        if fails or frame.after > self.mark:
            self.queue.clear()
            self.pair.dashboard.send_rewind(self.mark)
        else:
            self.committed += range(self.mark + 1, frame.to + 1)
            self.mark = max(self.mark, frame.to)
            self.pair.dashboard.send_ack(frame.to)
        self.downward += self.pair.dashboard.frames_to_send()

    @precondition(lambda self: self.downward)
    @rule()
    def hear_dashboard(self) -> None:
        for frame in self.pair.node.receive_message(self.downward.pop(0)):
            if isinstance(frame, Rewind):
                self.after = frame.hwm

    @invariant()
    def every_number_is_committed_once_and_in_order(self) -> None:
        assert self.committed == list(range(1, self.mark + 1))
        assert self.mark <= self.last

    @invariant()
    def nobody_breaks_the_rules(self) -> None:
        assert self.pair.dashboard.closing is None
        assert self.pair.node.closing is None
        assert 0 <= self.pair.node.window_left() <= WINDOW

    def teardown(self) -> None:
        """Once nothing fails any more, everything arrives."""
        for _ in range(200):
            while self.after < self.last and self.pair.node.window_left() > 0:
                self.send(3)
            while self.upward:
                self.hear_node()
            while self.queue:
                self.commit(False)
            while self.downward:
                self.hear_dashboard()
            if self.mark == self.last:
                return
        raise AssertionError(f"stuck at {self.mark} of {self.last}")


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
