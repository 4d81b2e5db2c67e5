"""Many writers, crashes, lost acknowledgements, delays: the promises of a run's log hold in any order."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from meshcore.run_events import RunStatus
from tests.run_world import CHUNKS, World, check

STEPS = 300


def live(chance: Random, steps: int) -> World:
    """Return a world in which so many things happened."""
    world = World(chance)
    for _ in range(steps):
        world.step()
    return world


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(0, STEPS))
def test_a_run_has_one_owner_one_end_no_gap_and_nobody_is_stuck(seed: int, steps: int) -> None:
    world = live(Random(seed), steps)
    check(world.log)

    state = world.calm()

    check(world.log)
    assert state.end is not None, "the run is stuck"
    if state.status is RunStatus.COMPLETED:
        assert state.text == "".join(f"{number} " for number in range(1, CHUNKS + 1))
    if state.cancelled_by is not None:
        assert state.status is RunStatus.CANCELLED


def test_every_way_to_end_happens_in_this_world() -> None:
    ends = {
        (state.status, state.end.reason if state.status is RunStatus.FAILED and state.end else "")
        for seed in range(200)
        for state in [live(Random(seed), STEPS).calm()]
    }

    assert ends == {(RunStatus.COMPLETED, ""), (RunStatus.CANCELLED, ""), (RunStatus.FAILED, "owner_lost")}
