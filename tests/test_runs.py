"""What a run's log says, and what may stand in it."""

import copy
from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.errors import IllegalMove
from meshcore.run_events import (
    TERMINAL,
    AnyEvent,
    CancelRequested,
    ChunkEvent,
    Claimed,
    ClaimReason,
    Created,
    End,
    Released,
    RunStatus,
    name_of,
)
from meshcore.runs import fold

CREATED = Created(capability="llm.chat", request=msgspec.Raw(b'{"messages":[]}'), log_id="abcdef", key="ci")
RELEASED = Released(reason="draining")
CANCEL = CancelRequested(by="alice")


def claimed(
    instance: str, epoch: int, reason: ClaimReason = ClaimReason.STARTED, superseded_from: int | None = None
) -> Claimed:
    return Claimed(
        node=f"node-{instance}",
        instance=instance,
        epoch=epoch,
        reason=reason,
        superseded_from=superseded_from,
    )


def chunk(index: int, text: str = "", finish_reason: str = "") -> ChunkEvent:
    delta = msgspec.Raw(msgspec.json.encode({"content": text or f"{index} "}))
    return ChunkEvent(index=index, delta=delta, finish_reason=finish_reason)


def end(final_seq: int, status: RunStatus = RunStatus.COMPLETED, reason: str = "stop") -> End:
    return End(status=status, final_seq=final_seq, reason=reason)


STARTED = [CREATED, claimed("one", 1)]


def test_a_run_is_queued_until_it_is_claimed_and_runs_until_it_ends() -> None:
    seen = [fold([CREATED]).status, fold(STARTED).status]
    state = fold([*STARTED, chunk(1), chunk(2, finish_reason="stop"), end(5)])

    assert seen == [RunStatus.QUEUED, RunStatus.RUNNING]
    assert (state.status, state.text, state.last_seq) == (RunStatus.COMPLETED, "1 2 ", 5)
    assert (state.finish_reason, state.chunks, state.epoch) == ("stop", 2, 1)


def test_the_last_claim_names_the_owner() -> None:
    state = fold([*STARTED, chunk(1), claimed("two", 2, ClaimReason.CONTINUED)])

    assert state.owned_by("two")
    assert not state.owned_by("one")
    assert (state.epoch, state.takeovers) == (2, 1)


def test_who_continues_keeps_the_text_and_goes_on_counting() -> None:
    state = fold([*STARTED, chunk(1), claimed("two", 2, ClaimReason.CONTINUED), chunk(2)])

    assert (state.text, state.next_index, state.generation_seq) == ("1 2 ", 3, 1)


def test_who_restarts_begins_a_generation_and_names_the_one_it_replaces() -> None:
    first = [*STARTED, chunk(1), claimed("two", 2, ClaimReason.RESTARTED, 1), chunk(1, "anew ")]
    state = fold(first)
    again = fold([*first, claimed("three", 3, ClaimReason.RESTARTED, 4), chunk(1, "last ")])

    assert (state.text, state.next_index, state.generation_seq, state.chunks) == ("anew ", 2, 4, 2)
    assert (again.text, again.generation_seq, again.takeovers) == ("last ", 6, 2)


def test_a_piece_that_is_no_text_counts_and_adds_none() -> None:
    call = ChunkEvent(index=1, delta=msgspec.Raw(b'{"tool_calls":[]}'))

    state = fold([*STARTED, call, chunk(2)])

    assert (state.text, state.chunks, state.next_index) == ("2 ", 2, 3)


def test_a_released_run_waits_and_its_next_claim_is_no_takeover() -> None:
    waiting = fold([*STARTED, RELEASED])
    state = fold([*STARTED, RELEASED, claimed("two", 2, ClaimReason.CONTINUED)])

    assert (waiting.status, waiting.owned_by("one")) == (RunStatus.WAITING, False)
    assert (state.status, state.takeovers) == (RunStatus.RUNNING, 0)


def test_a_cancelled_run_is_cancelling_until_it_ends_and_is_never_claimed_again() -> None:
    state = fold([*STARTED, chunk(1), CANCEL])

    assert (state.status, state.cancelled_by) == (RunStatus.CANCELLING, "alice")
    assert not state.allows(claimed("two", 2, ClaimReason.CONTINUED))
    assert not state.allows(chunk(2))
    assert not state.allows(end(5))
    assert state.allows(end(5, RunStatus.CANCELLED))


def test_the_first_end_wins_and_what_stands_behind_it_is_ignored() -> None:
    state = fold([*STARTED, end(3), end(4, RunStatus.FAILED), chunk(1), CREATED])

    assert (state.status, state.last_seq, state.text) == (RunStatus.COMPLETED, 6, "")
    assert state.end is not None
    assert state.end.final_seq == 3
    assert not state.allows(end(7))


@pytest.mark.parametrize(
    ("log", "event"),
    [
        ([], claimed("one", 1)),
        ([], CANCEL),
        ([CREATED], CREATED),
        ([CREATED], chunk(1)),
        ([CREATED], RELEASED),
        ([CREATED], end(2)),
        ([CREATED], end(2, RunStatus.CANCELLED)),
        ([CREATED], claimed("one", 2)),
        ([CREATED], claimed("one", 1, ClaimReason.CONTINUED)),
        ([CREATED], claimed("one", 1, ClaimReason.STARTED, 1)),
        (STARTED, claimed("two", 1, ClaimReason.CONTINUED)),
        (STARTED, claimed("two", 2, ClaimReason.STARTED)),
        (STARTED, claimed("two", 2, ClaimReason.RESTARTED)),
        (STARTED, claimed("two", 2, ClaimReason.RESTARTED, 2)),
        (STARTED, claimed("two", 2, ClaimReason.CONTINUED, 1)),
        (STARTED, chunk(2)),
        (STARTED, end(4)),
        ([*STARTED, chunk(1)], chunk(1)),
        ([*STARTED, RELEASED], chunk(1)),
        ([*STARTED, RELEASED], RELEASED),
        ([*STARTED, RELEASED], end(4)),
        ([*STARTED, CANCEL], CANCEL),
        ([*STARTED, CANCEL], end(4, RunStatus.FAILED)),
    ],
)
def test_an_illegal_event_raises_and_changes_nothing(log: list[AnyEvent], event: AnyEvent) -> None:
    state = fold(log)
    before = (state.status, state.last_seq, state.text, state.epoch)

    with pytest.raises(IllegalMove, match=name_of(event)):
        state.apply(event)

    assert (state.status, state.last_seq, state.text, state.epoch) == before
    assert not state.allows(event)


@given(st.data())
def test_whatever_is_allowed_keeps_the_log_readable(data: st.DataObject) -> None:
    state = fold([CREATED])
    for _ in range(data.draw(st.integers(0, 30))):
        event = data.draw(st.sampled_from(_thinkable(state.last_seq, state.epoch, state.next_index)))
        if state.allows(event):
            was_cancelled, was_ended = state.cancelled_by is not None, state.end is not None
            state.apply(event)

            assert not was_ended
            assert not (was_cancelled and isinstance(event, Claimed | ChunkEvent))
            assert (state.end is not None) is (state.status in TERMINAL)
            assert state.takeovers < max(state.epoch, 1)
            assert state.text.split() == [str(number) for number in range(1, state.next_index)]


def _thinkable(last_seq: int, epoch: int, index: int) -> list[AnyEvent]:
    claims = [
        claimed(name, at, reason, begun)
        for name in ("one", "two")
        for at in (epoch, epoch + 1)
        for reason in ClaimReason
        for begun in (None, 1, last_seq)
    ]
    ends = [end(last_seq + 1, status) for status in RunStatus]
    return [*claims, *ends, chunk(index), chunk(index + 1), CANCEL, RELEASED, CREATED, end(last_seq)]


@given(data=st.data())
def test_events_that_come_together_say_what_they_say_one_by_one(data: st.DataObject) -> None:
    """Whatever stands in a record: also what may not stand there, and then all before it counts."""
    before = fold([*STARTED, *data.draw(st.sampled_from([[], [chunk(1)], [CANCEL], [RELEASED]]))])
    seq, index = before.last_seq, before.next_index
    events = data.draw(
        st.lists(
            st.builds(chunk, st.integers(index, index + 3), st.just("x"), st.sampled_from(["", "stop"]))
            | st.sampled_from([CANCEL, RELEASED, end(seq + 1), end(seq + 2), end(seq + 3)]),
            min_size=1,
            max_size=4,
        )
        | st.integers(1, 6).map(lambda n: [chunk(index + at) for at in range(n)] + [end(seq + n + 1)])
    )
    alone, together = copy.deepcopy(before), copy.deepcopy(before)

    errors = [raised(lambda: fold(events, alone)), raised(lambda: together.apply_all(events))]

    assert errors[0] == errors[1]
    said = (
        "last_seq",
        "status",
        "text",
        "chunks",
        "size_bytes",
        "next_index",
        "finish_reason",
        "frame",
        "end",
    )
    assert [getattr(alone, name) for name in said] == [getattr(together, name) for name in said]


def raised(act: Callable[[], object]) -> str:
    """Return what an illegal move was called, "" when it was none."""
    with suppress(IllegalMove):
        act()
        return ""
    return "illegal"
