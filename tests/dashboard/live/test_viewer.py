"""What an open page is owed: at once, but not too often, never two at a time, and not for ever."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dashboard.live.viewer import ALL, Act, Batch, NotSent, Viewer, ViewerPolicy
from meshcore.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def viewer(clock: ManualClock) -> Viewer:
    """One that has just shown its first message."""
    viewer = Viewer(clock=clock)
    viewer.acknowledged(viewer.take().no)
    return viewer


def test_a_page_is_owed_everything_when_it_comes(clock: ManualClock) -> None:
    viewer = Viewer(clock=clock)

    assert viewer.act() is Act.SEND
    assert viewer.take() == Batch(no=1, keys=(ALL,), list_changes=0)


def test_a_change_is_sent_at_once_after_a_while_of_quiet(viewer: Viewer, clock: ManualClock) -> None:
    clock.advance(1.0)
    assert viewer.act() is Act.WAIT

    viewer.changed(["node:node-a"])

    assert viewer.act() is Act.SEND
    assert viewer.take().keys == ("node:node-a",)


def test_changes_in_a_row_go_out_four_times_a_second_together(viewer: Viewer, clock: ManualClock) -> None:
    viewer.changed(["node:node-a"])
    viewer.changed(["node:node-b", "node:node-a"])
    assert viewer.act() is Act.WAIT

    clock.advance(0.25)

    assert viewer.act() is Act.SEND
    assert viewer.take().keys == ("node:node-a", "node:node-b")


def test_nothing_is_sent_before_the_last_message_is_acknowledged(viewer: Viewer, clock: ManualClock) -> None:
    viewer.changed(["node:node-a"])
    clock.advance(0.25)
    no = viewer.take().no
    viewer.changed(["node:node-b"])
    clock.advance(10.0)
    assert viewer.act() is Act.WAIT

    viewer.acknowledged(no)

    assert viewer.act() is Act.SEND


def test_a_quiet_page_hears_something_every_five_seconds(viewer: Viewer, clock: ManualClock) -> None:
    clock.advance(4.9)
    assert viewer.act() is Act.WAIT

    clock.advance(0.1)

    assert viewer.act() is Act.SEND
    assert viewer.take() == Batch(no=2, keys=(), list_changes=0)


def test_a_page_that_acknowledges_nothing_for_20_seconds_is_given_up(
    viewer: Viewer, clock: ManualClock
) -> None:
    clock.advance(5.0)
    viewer.take()
    clock.advance(19.9)
    assert viewer.act() is Act.WAIT

    clock.advance(0.1)

    assert viewer.act() is Act.GIVE_UP


def test_changes_of_the_list_are_counted_and_told_once(viewer: Viewer, clock: ManualClock) -> None:
    viewer.changed([], list_changes=2)
    viewer.changed([], list_changes=1)
    clock.advance(0.25)
    assert viewer.act() is Act.SEND

    batch = viewer.take()

    assert (batch.keys, batch.list_changes) == ((), 3)
    viewer.acknowledged(batch.no)
    clock.advance(5.0)
    assert viewer.take().list_changes == 0


def test_very_many_changed_keys_become_everything(clock: ManualClock) -> None:
    viewer = Viewer(clock=clock, policy=ViewerPolicy(max_keys=2))
    viewer.acknowledged(viewer.take().no)

    viewer.changed(["a", "b"])
    assert viewer.take().keys == ("a", "b")

    viewer.changed(["a", "b", "c"])
    viewer.changed(["d"])
    assert viewer.take().keys == (ALL,)


def test_everything_swallows_what_is_owed_already(viewer: Viewer) -> None:
    viewer.changed(["a"])
    viewer.changed([ALL])

    assert viewer.take().keys == (ALL,)


@pytest.mark.parametrize("no", [0, 1, 3, -2])
def test_an_acknowledgement_of_what_was_not_sent_is_refused(viewer: Viewer, no: int) -> None:
    viewer.take()

    with pytest.raises(NotSent, match=f"ack={no}: expected 2"):
        viewer.acknowledged(no)


def test_a_second_acknowledgement_is_refused(viewer: Viewer) -> None:
    with pytest.raises(NotSent, match="expected none"):
        viewer.acknowledged(1)


@pytest.mark.parametrize(
    "policy",
    [
        {"gap_seconds": 0.0},
        {"gap_seconds": 6.0},
        {"quiet_seconds": 20.0},
        {"max_keys": 0},
    ],
)
def test_a_rhythm_that_makes_no_sense_is_refused(policy: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 < gap < quiet < ack"):
        ViewerPolicy(**policy)  # type: ignore[arg-type]


class AnyViewer(RuleBasedStateMachine):
    """Whatever happens, nothing owed is lost and nothing is sent too often."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.viewer = Viewer(clock=self.clock)
        self.owed: set[str] = {ALL}
        self.unacknowledged: int | None = None
        self.sent_at: list[float] = []

    @rule(keys=st.sets(st.sampled_from("abcdef")))
    def change(self, keys: set[str]) -> None:
        self.viewer.changed(sorted(keys))
        self.owed |= keys

    @rule(seconds=st.floats(min_value=0.0, max_value=30.0))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.viewer.act() is Act.SEND)
    @rule()
    def send(self) -> None:
        assert self.unacknowledged is None
        batch = self.viewer.take()
        assert batch.keys == (ALL,) if ALL in self.owed else set(batch.keys) == self.owed
        self.owed.clear()
        self.unacknowledged = batch.no
        self.sent_at.append(self.clock())

    @precondition(lambda self: self.unacknowledged is not None)
    @rule()
    def acknowledge(self) -> None:
        assert self.unacknowledged is not None
        self.viewer.acknowledged(self.unacknowledged)
        self.unacknowledged = None

    @invariant()
    def at_most_four_a_second(self) -> None:
        assert all(b - a >= 0.25 - 1e-9 for a, b in zip(self.sent_at, self.sent_at[1:], strict=False))

    @invariant()
    def what_is_owed_goes_out_as_soon_as_it_may(self) -> None:
        if self.owed and self.unacknowledged is None:
            assert self.viewer.next_deadline() <= self.clock() + 0.25 + 1e-9


TestAnyViewer = AnyViewer.TestCase
