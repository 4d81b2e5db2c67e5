"""What a node tells of its runs."""

from collections.abc import Iterable

import msgspec
import pytest

from meshcore.run_events import (
    AnyEvent,
    CancelRequested,
    ChunkEvent,
    Claimed,
    ClaimReason,
    Created,
    End,
    Released,
    RunStatus,
)
from meshcore.run_reports import (
    EPOCHS_MAX,
    LIVE_EPOCHS_MAX,
    RUNS_MAX,
    RUNS_MAX_BYTES,
    USAGE_MAX_BYTES,
    Epoch,
    RunReport,
    facts,
    fit,
    report,
    usage_of,
)
from meshcore.runs import RunState, fold
from meshcore.testing import START

CREATED = Created(
    capability="llm.chat", request=msgspec.Raw(b'{"messages":[]}'), log_id="abcdef", key="ci", at=START
)


def claimed(epoch: int, superseded_from: int | None = None) -> Claimed:
    reason = ClaimReason.STARTED if epoch == 1 else ClaimReason.CONTINUED
    return Claimed(
        node=f"node-{epoch}",
        instance=f"i{epoch}",
        epoch=epoch,
        reason=reason if superseded_from is None else ClaimReason.RESTARTED,
        superseded_from=superseded_from,
        at=START,
    )


def chunk(index: int) -> ChunkEvent:
    frame = {"id": "c1", "model": "tiny"} if index == 1 else None
    return ChunkEvent(index=index, delta=msgspec.Raw(b'{"content":"x"}'), frame=frame)


def handed_on(times: int) -> Iterable[AnyEvent]:
    for epoch in range(2, times + 2):
        yield Released(reason="draining")
        yield claimed(epoch)


def test_a_run_that_lives_is_told_of_by_its_log() -> None:
    state = fold([CREATED, claimed(1), chunk(1), claimed(2), chunk(2)])

    assert report("run_1", state, provider="alpha") == RunReport(
        run_id="run_1",
        status="running",
        epoch=2,
        takeovers=1,
        last_seq=5,
        chunks=2,
        capability="llm.chat",
        model="tiny",
        provider="alpha",
        caller="ci",
        created_at=START,
        epochs=(
            Epoch(epoch=1, node="node-1", reason="started", first_seq=2, at=START),
            Epoch(epoch=2, node="node-2", reason="continued", first_seq=4, at=START),
        ),
    )


def test_a_restart_says_what_it_replaces() -> None:
    state = fold([CREATED, claimed(1), chunk(1), claimed(2, superseded_from=1)])

    assert report("run_1", state).epochs[-1] == Epoch(
        epoch=2, node="node-2", reason="restarted", first_seq=4, superseded_from=1, at=START
    )


def test_every_event_up_to_the_end_is_counted_somewhere() -> None:
    end = End(status=RunStatus.CANCELLED, reason="cancel_requested", final_seq=8, usage={"total_tokens": 3})
    state = fold(
        [
            CREATED,
            claimed(1),
            chunk(1),
            Released(reason="x"),
            claimed(2),
            chunk(2),
            CancelRequested(by="alice"),
            end,
        ]
    )
    state.apply(end)  # somebody who had not read that far

    said = facts("run_1", state)

    assert (said["last_seq"], said["status"], said["cancelled_by"]) == (8, "cancelled", "alice")
    assert 1 + len(said["epochs"]) + said["chunks"] + said["releases"] + 1 + 1 == 8
    assert usage_of(state) == {"total_tokens": 3}


@pytest.mark.parametrize("usage", [None, {"note": "x" * USAGE_MAX_BYTES}])
def test_a_usage_that_says_nothing_or_too_much_is_left_out(usage: dict[str, str] | None) -> None:
    end = End(status=RunStatus.COMPLETED, final_seq=3, usage=usage)

    assert usage_of(fold([CREATED, claimed(1), end])) is None
    assert usage_of(RunState()) is None


def test_of_many_epochs_the_newest_are_told() -> None:
    state = fold([CREATED, claimed(1), *handed_on(EPOCHS_MAX + 5)])

    live, ended = report("run_1", state).epochs, facts("run_1", state)["epochs"]

    assert [each.epoch for each in live] == list(range(EPOCHS_MAX + 7 - LIVE_EPOCHS_MAX, EPOCHS_MAX + 7))
    assert [len(live), len(ended), ended[-1].epoch] == [LIVE_EPOCHS_MAX, EPOCHS_MAX, EPOCHS_MAX + 6]


def test_a_frame_has_room_for_so_many_and_says_how_many_it_left_out() -> None:
    small = [RunReport(run_id=f"run_{n}", status="running") for n in range(RUNS_MAX + 3)]
    large = [RunReport(run_id=f"run_{n}", status="running", model="m" * 1000) for n in range(RUNS_MAX)]

    some, left = fit(small)
    fewer, more = fit(large)

    assert (some, left) == (tuple(small[:RUNS_MAX]), 3)
    assert len(fewer) + more == RUNS_MAX
    assert RUNS_MAX_BYTES - 2000 < len(msgspec.json.encode(fewer)) < RUNS_MAX_BYTES + 1000
