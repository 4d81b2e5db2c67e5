"""Credits of watched runs: a node sends as far as they go, and one that sends more is cut off."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.errors import IllegalMove
from meshcore.frames import Inbound
from meshcore.link import CloseCode
from meshcore.stream_frames import (
    STREAM_CREDIT,
    STREAM_CREDIT_MAX,
    Stream,
    StreamCredit,
    StreamEnd,
    StreamEndReason,
    ViewedEvent,
    WatchRun,
)
from tests.test_link import Pair

WATCH = WatchRun(stream="s1", run_id="run_abcdef_1", after=4)


def piece(after: int, *seqs: int, stream: str = "s1") -> Stream:
    events = tuple(ViewedEvent(seq=seq, event="chunk", data=msgspec.Raw(b"{}")) for seq in seqs)
    return Stream(id=stream, after=after, to=max([after, *seqs]), events=events)


@pytest.fixture
def pair() -> Pair:
    """A link over which a run is watched."""
    pair = Pair().opened()
    pair.dashboard.streams.watch(WATCH)
    (asked,) = pair.down()
    assert isinstance(asked, Inbound)
    assert asked.bufferId is None
    pair.node.streams.open(msgspec.convert(asked.event, WatchRun))
    return pair


def test_the_wish_to_watch_travels_as_an_event(pair: Pair) -> None:
    pair.dashboard.streams.watch(WatchRun(stream="s2", run_id="run_abcdef_2", history=True))

    assert pair.down() == [
        Inbound(
            event={
                "type": "watch_run",
                "stream": "s2",
                "run_id": "run_abcdef_2",
                "after": None,
                "history": True,
                "credit": STREAM_CREDIT,
            }
        )
    ]


def test_a_node_sends_as_many_pieces_as_it_was_granted(pair: Pair) -> None:
    sent = [piece(seq, seq + 1) for seq in range(STREAM_CREDIT)]
    for each in sent:
        pair.node.streams.send(each)

    assert pair.node.streams.credit_left("s1") == 0
    with pytest.raises(IllegalMove, match="without credit"):
        pair.node.streams.send(piece(9, 10))
    assert pair.up() == sent

    pair.dashboard.streams.grant("s1", 2)

    assert pair.down() == [StreamCredit(id="s1", n=2)]
    assert pair.node.streams.credit_left("s1") == 2


def test_a_node_that_sends_beyond_its_credit_is_cut_off(pair: Pair) -> None:
    for seq in range(STREAM_CREDIT + 1):
        pair.node._say(piece(seq, seq + 1))

    assert len(pair.up()) == STREAM_CREDIT
    assert pair.dashboard.closing is not None
    assert pair.dashboard.closing.code is CloseCode.PROTOCOL_ERROR
    assert pair.dashboard.closing.reason == "a piece of a stream beyond its credit"


@pytest.mark.parametrize(
    "wrong", [piece(4, 4), piece(4, 6, 5), Stream(id="s1", after=4, to=5, events=piece(4, 6).events)]
)
def test_a_node_that_mixes_up_the_order_is_cut_off(pair: Pair, wrong: Stream) -> None:
    pair.node._say(wrong)

    assert pair.up() == []
    assert pair.dashboard.closing is not None
    assert pair.dashboard.closing.reason == "a piece of a stream out of order"


def test_what_is_said_of_a_stream_that_is_over_counts_for_nothing(pair: Pair) -> None:
    pair.node.streams.send(piece(4, 5))
    pair.dashboard.streams.end("s1")
    pair.node.streams.end("s1", StreamEndReason.ENDED)

    assert pair.up() == []
    assert pair.down() == []
    pair.dashboard.streams.end("s1")
    pair.dashboard.streams.grant("s1")
    pair.node.streams.end("s1", StreamEndReason.ENDED)
    assert (pair.up(), pair.down(), pair.dashboard.closing) == ([], [], None)


def test_a_stream_ends_by_its_node_with_a_reason(pair: Pair) -> None:
    pair.node.streams.end("s1", StreamEndReason.UNKNOWN_RUN)

    assert pair.up() == [StreamEnd(id="s1", reason="unknown_run")]
    with pytest.raises(IllegalMove):
        pair.node.streams.send(piece(4, 5))


def test_a_stream_ends_by_its_viewer(pair: Pair) -> None:
    pair.dashboard.streams.end("s1")

    assert pair.down() == [StreamEnd(id="s1", reason="cancelled")]
    assert pair.node.streams.credit_left("s1") == 0


def test_pieces_of_a_stream_that_nobody_asked_for_are_nothing(pair: Pair) -> None:
    for seq in range(100):
        pair.node._say(piece(seq, seq + 1, stream="other"))

    assert (pair.up(), pair.dashboard.closing) == ([], None)


def test_the_id_of_an_open_stream_is_taken(pair: Pair) -> None:
    with pytest.raises(IllegalMove, match="s1"):
        pair.node.streams.open(WATCH)


@given(st.lists(st.integers(1, STREAM_CREDIT_MAX), max_size=20))
def test_no_grant_makes_a_node_send_more_than_its_bound_at_once(grants: list[int]) -> None:
    pair = Pair().opened()
    pair.node.streams.open(WATCH)

    for n in grants:
        assert pair.node.streams.heard(StreamCredit(id="s1", n=n))

    assert pair.node.streams.credit_left("s1") == min(STREAM_CREDIT + sum(grants), STREAM_CREDIT_MAX)
