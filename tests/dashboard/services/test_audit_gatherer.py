"""Refusals counted by the minute: none is lost, and neither keys nor minutes grow without bound."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from dashboard.models import Action, ActorKind
from dashboard.services.actor import Actor
from dashboard.services.audit_gatherer import KEYS_MAX, MINUTES_MAX, Gatherer, Refusal, Tally

NAMES = [f"10.0.{n}.0/24" for n in range(KEYS_MAX + 20)]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def refusal(name: str = "192.0.2.0/24", status: int = 401) -> Refusal:
    who = Actor(kind=ActorKind.STRANGER, name=name)
    return Refusal(who=who, action=Action.ACCESS, target="GET api/v1/nodes", status=status)


def knock(seconds: float = 0, name: str = "192.0.2.0/24", *, status: int = 401, address: str = "") -> Tally:
    at = NOON + timedelta(seconds=seconds)
    return Tally(refusal=refusal(name, status), first_at=at, last_at=at, address=address)


def gathered(*knocks: Tally) -> Gatherer:
    gatherer = Gatherer()
    gatherer.give_back(knocks)
    return gatherer


def test_the_same_refusals_of_a_minute_are_one_with_a_count() -> None:
    gatherer = gathered(knock(1, address="192.0.2.7"), knock(30, address="192.0.2.8"), knock(59, status=403))

    first, second = gatherer.take(before=NOON + timedelta(minutes=1))

    assert (first.count, first.address, second.count) == (2, "192.0.2.7", 1)
    assert (first.first_at, first.last_at) == (NOON + timedelta(seconds=1), NOON + timedelta(seconds=30))


def test_a_minute_that_is_not_over_stays() -> None:
    gatherer = gathered(knock(1), knock(61))

    assert [tally.minute for tally in gatherer.take(before=NOON + timedelta(seconds=119))] == [
        knock(1).minute
    ]
    assert gatherer.take(before=NOON + timedelta(seconds=119)) == []
    assert len(gatherer.take(before=None)) == 1


def test_beyond_a_hundred_kinds_the_rest_is_counted_together() -> None:
    gatherer = gathered(*(knock(1, f"10.0.{n}.0/24") for n in range(KEYS_MAX + 50)), knock(2, "10.0.7.0/24"))

    tallies = gatherer.take(before=None)

    assert len(tallies) == KEYS_MAX + 1
    counts = {tally.refusal.who.name if tally.refusal else "": tally.count for tally in tallies}
    assert (counts[""], counts["10.0.7.0/24"]) == (50, 2)


def test_a_database_that_is_away_for_long_costs_no_more_memory() -> None:
    gatherer = gathered(*(knock(60 * minute) for minute in range(MINUTES_MAX + 20)))

    tallies = gatherer.take(before=None)

    assert sum(tally.count for tally in tallies) == MINUTES_MAX + 20
    assert [tally.count for tally in tallies if tally.refusal is None] == [20]


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 150)), max_size=300))
def test_what_could_not_be_written_is_given_back_whole(knocks: list[tuple[int, int]]) -> None:
    gatherer = gathered(*(knock(second, f"10.0.{n}.0/24") for second, n in knocks))

    gatherer.give_back(taken := gatherer.take(before=None))

    assert sum(tally.count for tally in gatherer.take(before=None)) == len(knocks)
    assert sum(tally.count for tally in taken) == len(knocks)


class Counting(RuleBasedStateMachine):
    """However knocks, writes and failures come, what is noted is written once or still there."""

    def __init__(self) -> None:
        super().__init__()
        self.gatherer = Gatherer()
        self.second = 0
        self.noted: Counter[str] = Counter()
        self.written: Counter[str] = Counter()

    @rule(wait=st.integers(-30, 200), name=st.integers(0, 120), times=st.sampled_from([1, 2, 60, 130]))
    def knock(self, wait: int, name: int, times: int) -> None:
        self.second += wait
        for n in range(times):
            self.gatherer.add(knock(self.second, NAMES[(name + n) % len(NAMES)]))
        self.noted["all"] += times

    @rule(fails=st.booleans())
    def write(self, fails: bool) -> None:
        now = NOON + timedelta(seconds=self.second)
        tallies = self.gatherer.take(before=now)
        per_minute = Counter(tally.minute for tally in tallies if tally.refusal)
        assert all(tally.first_at <= tally.last_at for tally in tallies)
        assert all(count <= KEYS_MAX for count in per_minute.values())
        assert len(tallies) <= MINUTES_MAX * (KEYS_MAX + 1)
        if fails:
            self.gatherer.give_back(tallies)
        else:
            self.written["all"] += sum(tally.count for tally in tallies)

    def teardown(self) -> None:
        waiting = self.gatherer.take(before=None)
        assert self.written["all"] + sum(tally.count for tally in waiting) == self.noted["all"]


TestCounting = Counting.TestCase
TestCounting.settings = settings(max_examples=40, stateful_step_count=25)
