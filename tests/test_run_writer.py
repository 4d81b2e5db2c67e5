"""What a writer makes of conflicts and of acknowledgements that got lost."""

from collections.abc import Sequence

import pytest

from meshcore.errors import IllegalMove
from meshcore.run_events import AnyEvent, ClaimReason, RunStatus
from meshcore.run_record import EMPTY, Head, Record
from meshcore.run_writer import RunWriter, Turn
from tests.test_runs import CANCEL, CREATED, RELEASED, STARTED, chunk, claimed, end

CONTINUED = claimed("two", 2, ClaimReason.CONTINUED)


def writer(instance: str = "one", log: Sequence[AnyEvent] = STARTED) -> RunWriter:
    """Return a writer that has read `log`, a record an event."""
    made = RunWriter(instance)
    made.behind(stands(*log))
    return made


def stands(*events: AnyEvent, behind: int = 0, append_id: str = "theirs") -> list[tuple[Record, Head]]:
    """Return records of one event each, behind so many that are there already."""
    numbered = enumerate(events, start=behind + 1)
    return [(Record(1, append_id, number, (event,)), Head(number, number)) for number, event in numbered]


def test_what_is_stored_is_known_and_the_next_append_stands_behind_it() -> None:
    one = writer()

    record = one.draft("x", chunk(1), chunk(2))
    one.stored(Head(4, 3))

    assert (record.first_seq, record.last_seq, record.append_id) == (3, 4, "x")
    assert (one.head, one.state.text) == (Head(4, 3), "1 2 ")
    assert one.draft("y", chunk(3)).first_seq == 5


def test_a_lost_acknowledgement_is_no_lost_race() -> None:
    one = writer()
    one.draft("mine", chunk(1))

    turn = one.behind(stands(chunk(1), behind=2, append_id="mine"))

    assert turn is Turn.STORED
    assert one.state.text == "1 "
    assert one.draft("next", chunk(2)).first_seq == 4


def test_where_nothing_came_the_same_bytes_are_tried_again() -> None:
    one = writer()
    first = one.draft("mine", chunk(1))

    turn = one.behind([])

    assert turn is Turn.RETRY
    assert one.again() == first


def test_who_lost_the_run_stops() -> None:
    one = writer()
    one.draft("mine", chunk(1))

    turn = one.behind(stands(CONTINUED, behind=2))

    assert turn is Turn.STOP
    assert not one.owns


def test_who_lost_the_run_behind_its_own_append_stops_too() -> None:
    one = writer()
    one.draft("mine", chunk(1))

    turn = one.behind([*stands(chunk(1), behind=2, append_id="mine"), *stands(CONTINUED, behind=3)])

    assert turn is Turn.STOP


def test_the_owner_of_a_cancelled_run_is_told_to_end_it() -> None:
    before, behind = writer(), writer()
    before.draft("mine", chunk(1))
    behind.draft("mine", chunk(1))

    turns = [
        before.behind(stands(CANCEL, behind=2)),
        behind.behind([*stands(chunk(1), behind=2, append_id="mine"), *stands(CANCEL, behind=3)]),
    ]

    assert turns == [Turn.CANCEL, Turn.CANCEL]
    assert before.draft("end", end(4, RunStatus.CANCELLED)).first_seq == 4


def test_who_ended_the_run_needs_no_more_than_its_own_record() -> None:
    one = writer()
    one.draft("mine", end(3))

    assert one.behind(stands(end(3), behind=2, append_id="mine")) is Turn.STORED


def test_who_released_the_run_may_see_it_claimed() -> None:
    one = writer()
    one.draft("mine", RELEASED)

    found = [*stands(RELEASED, behind=2, append_id="mine"), *stands(CONTINUED, behind=3)]

    assert one.behind(found) is Turn.STORED


def test_a_run_that_ended_stops_everybody() -> None:
    one = writer()
    one.draft("mine", chunk(1))

    assert one.behind(stands(end(3, RunStatus.FAILED), behind=2)) is Turn.STOP


def test_of_two_claimers_one_wins() -> None:
    log = [*STARTED, RELEASED]
    two, three = writer("two", log), writer("three", log)
    two.draft("by-two", CONTINUED)
    three.draft("by-three", claimed("three", 2, ClaimReason.CONTINUED))

    won = stands(CONTINUED, behind=3, append_id="by-two")

    assert (two.behind(won), three.behind(won)) == (Turn.STORED, Turn.STOP)
    assert (two.owns, three.owns) == (True, False)


def test_a_claim_is_judged_anew_when_its_owner_moved() -> None:
    two = writer("two")
    two.draft("mine", CONTINUED)

    assert two.behind(stands(chunk(1), behind=2)) is Turn.STOP


def test_a_canceller_tries_again_behind_what_the_owner_wrote() -> None:
    canceller = writer("canceller")
    canceller.draft("mine", CANCEL)

    turn = canceller.behind(stands(chunk(1), behind=2))

    assert turn is Turn.RETRY
    assert canceller.again().first_seq == 4


def test_one_request_to_cancel_is_enough() -> None:
    canceller = writer("canceller")
    canceller.draft("mine", CANCEL)

    assert canceller.behind(stands(CANCEL, behind=2)) is Turn.STORED


def test_a_canceller_that_is_too_late_stops() -> None:
    canceller = writer("canceller")
    canceller.draft("mine", CANCEL)

    assert canceller.behind(stands(end(3), behind=2)) is Turn.STOP


def test_of_two_who_create_the_same_run_one_wins() -> None:
    late = RunWriter("late")
    late.draft("mine", CREATED)

    assert late.behind(stands(CREATED)) is Turn.STOP


def test_who_writes_nothing_reads_on() -> None:
    one = writer()

    turns = [
        one.behind(stands(chunk(1), behind=2)),
        one.behind([]),
        one.behind(stands(CANCEL, behind=3)),
        one.behind(stands(end(5, RunStatus.CANCELLED), behind=4)),
    ]

    assert turns == [Turn.STORED, Turn.STORED, Turn.CANCEL, Turn.STOP]


def test_one_append_at_a_time_and_only_what_may_stand_next() -> None:
    one = writer()

    with pytest.raises(IllegalMove, match="chunk"):
        one.draft("x", chunk(2))
    with pytest.raises(IllegalMove, match="again"):
        one.again()
    with pytest.raises(IllegalMove, match="again"):
        one.stored(EMPTY)
    one.draft("x", chunk(1))
    with pytest.raises(IllegalMove, match="draft"):
        one.draft("y", chunk(1))
