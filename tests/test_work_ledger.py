"""The ledger: what a node has in hand, and in what order a forced drain ends it."""

from datetime import timedelta

from meshcore.testing import START, ManualClock
from meshcore.work_ledger import ACTIVE_WORK_MAX, WorkKind, WorkLedger


class House:
    """A ledger under a manual clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ledger = WorkLedger(clock=self.clock, utcnow=self.clock.utcnow)


def test_runs_are_forced_first_for_they_go_on_elsewhere() -> None:
    ledger = House().ledger
    call, run = ledger.admit(WorkKind.CALL, "c1"), ledger.admit(WorkKind.RUN, "r1")
    edge, stream = ledger.edge("e1"), ledger.admit(WorkKind.STREAM, "s1")

    assert ledger.in_order_of_force() == [run, call, stream, edge]


def test_work_is_forced_once_and_told_of_when_it_has_ended() -> None:
    ledger = House().ledger
    ended: list[tuple[str, int, int]] = []
    ledger.on_forced_end = lambda work: ended.append((work.work_id, ledger.total, ledger.edge_count))
    work, edge, other = (
        ledger.admit(WorkKind.CALL, "c1"),
        ledger.edge("e1"),
        ledger.admit(WorkKind.CALL, "c2"),
    )
    asked: list[str] = []
    for each in (work, edge):
        each.on_force = lambda name=each.work_id: asked.append(name)  # type: ignore[misc]

    forced_now = [each.force() for each in (work, work, edge, other)]
    before = list(ended)
    for each in (other, work, edge):
        each.close()

    assert forced_now == [True, False, True, False], "what nobody can end now is asked again later"
    assert asked == ["c1", "e1"]
    assert before == []
    assert ended == [("c1", 0, 1), ("e1", 0, 0)]


def test_work_is_counted_by_what_it_is_now() -> None:
    ledger = House().ledger
    work = [ledger.admit(WorkKind.RESERVED, f"w{n}") for n in range(4)]
    work[1].kind, work[2].kind, work[3].kind = WorkKind.CALL, WorkKind.STREAM, WorkKind.RUN

    counts = ledger.in_flight(at_start=9)

    assert (counts.reserved, counts.calls, counts.streams, counts.runs) == (1, 1, 1, 1)
    assert (counts.total, counts.at_start) == (4, 9)


def test_closing_work_twice_counts_it_out_once() -> None:
    ledger = House().ledger
    first, _ = ledger.admit(WorkKind.CALL, "a"), ledger.admit(WorkKind.CALL, "b")
    edge, _ = ledger.edge(), ledger.edge()

    for work in (first, first, edge, edge):
        work.close()

    assert (ledger.total, ledger.edge_count) == (1, 1)


def test_the_last_end_of_each_sort_is_told() -> None:
    house = House()
    told: list[tuple[int, int]] = []
    house.ledger.on_quiet = lambda: told.append((house.ledger.total, house.ledger.edge_count))
    owned = [house.ledger.admit(WorkKind.CALL, "a"), house.ledger.admit(WorkKind.CALL, "b")]
    passed_on = house.ledger.edge()

    for work in (*owned, passed_on):
        work.close()

    assert told == [(0, 1), (0, 0)]


def test_the_oldest_work_is_listed_with_its_age_and_provider() -> None:
    house = House()
    works = [house.ledger.admit(WorkKind.CALL, f"w{n}") for n in range(ACTIVE_WORK_MAX + 5)]
    works[0].provider = "alpha"
    house.clock.advance(2)

    listed = house.ledger.active_work()

    assert len(listed) == ACTIVE_WORK_MAX
    assert (listed[0].id, listed[0].provider, listed[0].age_seconds) == ("w0", "alpha", 2)


def test_idle_since_is_when_the_last_work_ended() -> None:
    house = House()
    work = house.ledger.admit(WorkKind.CALL, "a")
    assert house.ledger.idle_since is None

    house.clock.advance(5)
    work.close()
    house.clock.advance(5)

    assert house.ledger.idle_since == START + timedelta(seconds=5)
