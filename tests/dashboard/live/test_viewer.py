"""What an open page is owed: at once, but not too often, never two at a time, and not for ever."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dashboard.live.viewer import ALL, Act, NotSent, Owed, Viewer, ViewerPolicy
from meshcore.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def viewer(clock: ManualClock) -> Viewer:
    """One that has just shown its first message."""
    viewer = Viewer(clock=clock)
    viewer.take(1)
    viewer.acknowledged(1)
    return viewer


def taken(viewer: Viewer, no: int) -> Owed:
    """What goes out as message `no`."""
    owed = viewer.owed
    viewer.take(no)
    return owed


def test_a_page_is_owed_everything_when_it_comes(clock: ManualClock) -> None:
    viewer = Viewer(clock=clock)

    assert viewer.act() is Act.SEND
    assert taken(viewer, 1) == Owed(keys=(ALL,), list_changes=0)
    assert viewer.owed == Owed(keys=(), list_changes=0)


def test_a_change_is_sent_at_once_after_a_while_of_quiet(viewer: Viewer, clock: ManualClock) -> None:
    clock.advance(1.0)
    assert viewer.act() is Act.WAIT

    viewer.changed(["node:node-a"])

    assert viewer.act() is Act.SEND
    assert viewer.owed.keys == ("node:node-a",)


def test_a_change_right_behind_a_message_does_not_wait(viewer: Viewer, clock: ManualClock) -> None:
    clock.advance(2.0)
    viewer.changed(["heard"])
    viewer.take(2)
    viewer.acknowledged(2)

    viewer.changed(["node:node-a"])

    assert viewer.act() is Act.SEND


def test_what_is_no_news_leaves_the_early_message_to_what_is(viewer: Viewer, clock: ManualClock) -> None:
    clock.advance(2.0)
    viewer.changed(["node:node-a"])
    viewer.take(2)
    viewer.acknowledged(2)

    viewer.changed(["figures:node-a"], news=False)
    viewer.changed((), list_changes=0)  # nothing isn't news
    assert viewer.act() is Act.WAIT
    assert viewer.next_deadline() == pytest.approx(clock() + 1 / 3)
    viewer.changed(["node:node-b"])

    assert viewer.act() is Act.SEND
    assert viewer.owed.keys == ("figures:node-a", "node:node-b")


def test_changes_in_a_row_go_out_four_times_a_second_together(viewer: Viewer, clock: ManualClock) -> None:
    viewer.changed(["node:node-a"])
    viewer.take(2)
    viewer.acknowledged(2)
    viewer.changed(["node:node-a"])
    viewer.changed(["node:node-b", "node:node-a"])
    assert viewer.act() is Act.WAIT
    assert viewer.next_deadline() == pytest.approx(clock() + 1 / 3)

    clock.advance(0.34)

    assert viewer.act() is Act.SEND
    assert viewer.owed.keys == ("node:node-b", "node:node-a")


def test_what_changed_last_is_swapped_last_as_cells_of_two_keys_overlap(viewer: Viewer) -> None:
    viewer.changed(["node:node-a"])
    viewer.changed(["figures:node-a"])

    viewer.changed(["node:node-a"])

    assert viewer.owed.keys == ("figures:node-a", "node:node-a")


def test_nothing_is_sent_before_the_last_message_is_acknowledged(viewer: Viewer, clock: ManualClock) -> None:
    viewer.changed(["node:node-a"])
    viewer.take(7)
    assert viewer.is_waiting
    viewer.changed(["node:node-b"])
    clock.advance(10.0)
    assert viewer.act() is Act.WAIT

    viewer.acknowledged(7)

    assert not viewer.is_waiting
    assert viewer.act() is Act.SEND


def test_a_quiet_page_hears_something_every_five_seconds(viewer: Viewer, clock: ManualClock) -> None:
    clock.advance(4.9)
    assert viewer.act() is Act.WAIT

    clock.advance(0.1)

    assert viewer.act() is Act.SEND
    assert viewer.owed == Owed(keys=(), list_changes=0)


def test_a_page_that_acknowledges_nothing_for_20_seconds_is_given_up(
    viewer: Viewer, clock: ManualClock
) -> None:
    clock.advance(5.0)
    viewer.take(2)
    clock.advance(19.9)
    assert viewer.act() is Act.WAIT

    clock.advance(0.1)

    assert viewer.act() is Act.GIVE_UP


def test_changes_of_the_list_are_counted_and_told_once(viewer: Viewer, clock: ManualClock) -> None:
    viewer.changed([], list_changes=2)
    viewer.changed([], list_changes=1)
    assert viewer.act() is Act.SEND

    assert taken(viewer, 2) == Owed(keys=(), list_changes=3)

    viewer.acknowledged(2)
    assert viewer.owed.list_changes == 0


def test_very_many_changed_keys_become_everything(clock: ManualClock) -> None:
    viewer = Viewer(clock=clock, policy=ViewerPolicy(max_keys=2))
    viewer.take(1)

    viewer.changed(["a", "b"])
    assert taken(viewer, 2).keys == ("a", "b")

    viewer.changed(["a", "b", "c"])
    viewer.changed(["d"])
    assert viewer.owed.keys == (ALL,)


def test_everything_swallows_what_is_owed_already(viewer: Viewer) -> None:
    viewer.changed(["a"])
    viewer.changed([ALL])

    assert viewer.owed.keys == (ALL,)


@pytest.mark.parametrize("no", [0, 1, 3, -2])
def test_an_acknowledgement_of_what_was_not_sent_is_refused(viewer: Viewer, no: int) -> None:
    viewer.take(2)

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
        self.news = True
        self.no = 0
        self.unacknowledged: int | None = None
        self.sent_at: list[float] = []

    @rule(keys=st.sets(st.sampled_from("abcdef")), news=st.booleans())
    def change(self, keys: set[str], news: bool) -> None:
        self.viewer.changed(sorted(keys), news=news)
        self.owed |= keys
        self.news |= news and bool(keys)

    @rule(seconds=st.floats(min_value=0.0, max_value=30.0))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.viewer.act() is Act.SEND)
    @rule()
    def send(self) -> None:
        assert self.unacknowledged is None
        self.no += 1
        keys = taken(self.viewer, self.no).keys
        assert keys == (ALL,) if ALL in self.owed else set(keys) == self.owed
        self.owed.clear()
        self.news = False
        self.unacknowledged = self.no
        self.sent_at.append(self.clock())

    @precondition(lambda self: self.unacknowledged is not None)
    @rule()
    def acknowledge(self) -> None:
        assert self.unacknowledged is not None
        self.viewer.acknowledged(self.unacknowledged)
        self.unacknowledged = None

    @invariant()
    def at_most_four_a_second(self) -> None:
        fifth = zip(self.sent_at, self.sent_at[4:], strict=False)
        assert all(behind - at >= 1.0 - 1e-9 for at, behind in fifth)

    @invariant()
    def what_is_owed_goes_out_as_soon_as_it_may(self) -> None:
        if self.owed and self.unacknowledged is None:
            assert self.viewer.next_deadline() <= self.clock() + (1 if self.news else 2) / 3 + 1e-9


TestAnyViewer = AnyViewer.TestCase
