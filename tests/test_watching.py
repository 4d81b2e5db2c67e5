"""A run in pieces, and who of its log's nodes is asked next."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshcore.run_events import AnyEvent, ChunkEvent, Claimed, ClaimReason, End, Released, RunStatus
from meshcore.stream_frames import PIECE_MAX_BYTES, Stream
from meshcore.testing import ManualClock
from meshcore.watching import ENVELOPE_BYTES, PASSED_OVER_SECONDS, PASSED_OVER_SECONDS_MAX, Carriers, behind
from meshcore.watching import pieces as pieces_of

CLAIM = Claimed(node="node-a", instance="i1", epoch=1, reason=ClaimReason.STARTED)
END = End(status=RunStatus.COMPLETED, reason="stop", final_seq=9)


def chunk(index: int, length: int = 1) -> ChunkEvent:
    return ChunkEvent(index=index, delta=msgspec.Raw(b'{"content":"%b"}' % (b"x" * length)))


def numbered(after: int, *events: AnyEvent) -> list[tuple[int, AnyEvent]]:
    return list(enumerate(events, after + 1))


def test_events_of_one_reading_go_in_one_piece() -> None:
    (piece,) = pieces_of("s1", 1, numbered(1, CLAIM, chunk(1), END))

    assert (piece.id, piece.after, piece.to) == ("s1", 1, 4)
    assert [(each.seq, each.event) for each in piece.events] == [(2, "epoch"), (3, "chunk"), (4, "end")]
    assert msgspec.json.decode(piece.events[1].data) == {
        "index": 1,
        "delta": {"content": "x"},
        "finish_reason": None,
    }


def test_what_viewers_are_not_told_still_moves_the_place() -> None:
    (piece,) = pieces_of("s1", 3, numbered(3, Released(reason="draining")))

    assert piece == Stream(id="s1", after=3, to=4)


def test_a_long_event_comes_alone() -> None:
    found = list(pieces_of("s1", 0, numbered(0, chunk(1), chunk(2, PIECE_MAX_BYTES), chunk(3))))

    assert [[each.seq for each in piece.events] for piece in found] == [[1], [2], [3]]
    assert [(piece.after, piece.to) for piece in found] == [(0, 1), (1, 2), (2, 3)]


@given(st.lists(st.one_of(st.none(), st.integers(1, 300)), min_size=1, max_size=40), st.integers(0, 1000))
def test_pieces_are_whole_in_order_and_within_their_bound(lengths: list[int | None], after: int) -> None:
    events = [Released(reason="x") if n is None else chunk(at, n) for at, n in enumerate(lengths, 1)]

    found = list(pieces_of("s1", after, numbered(after, *events), max_bytes=400))

    assert [piece.after for piece in found] == [after, *(piece.to for piece in found[:-1])]
    assert found[-1].to == after + len(events)
    seqs = [each.seq for piece in found for each in piece.events]
    assert seqs == [after + at for at, n in enumerate(lengths, 1) if n is not None]
    for piece in found:
        size = sum(len(bytes(each.data)) + ENVELOPE_BYTES for each in piece.events)
        assert size <= 400 or len(piece.events) == 1


def test_of_a_piece_that_begins_earlier_only_the_rest_is_new() -> None:
    (piece,) = pieces_of("s1", 0, numbered(0, CLAIM, chunk(1), chunk(2)))

    rest = behind(piece, 2)

    assert (rest.after, rest.to, [each.seq for each in rest.events]) == (2, 3, [3])
    assert behind(piece, 0) == piece


def test_a_node_whose_link_is_here_is_asked_first() -> None:
    carriers = Carriers(clock=ManualClock())

    assert carriers.next({"node-c"}, ["node-a"]) == "node-c"
    assert carriers.next(set(), ["node-b", "node-a"]) == "node-a"
    assert carriers.next(set()) is None


def test_a_node_that_failed_is_passed_over_for_a_while_longer_each_time() -> None:
    clock = ManualClock()
    carriers = Carriers(clock=clock)
    both = {"node-a", "node-b"}

    carriers.failed("node-a")
    assert carriers.next(both) == "node-b"
    carriers.failed("node-b")
    assert carriers.next(both) is None
    clock.advance(PASSED_OVER_SECONDS)
    assert carriers.next(both) == "node-a"

    for _ in range(20):
        carriers.failed("node-a")
    clock.advance(PASSED_OVER_SECONDS_MAX)
    assert carriers.next({"node-a"}) == "node-a"
    assert carriers.next(both) == "node-b"  # which failed less often


def test_a_node_that_gave_something_is_as_good_as_before() -> None:
    carriers = Carriers(clock=ManualClock())
    carriers.failed("node-a")

    carriers.gave("node-a")

    assert carriers.next({"node-a"}) == "node-a"
