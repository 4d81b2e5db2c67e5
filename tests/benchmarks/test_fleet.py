"""What the fleet's bench says of its turns, and that it says when the nodes had too little of the machine."""

import pytest

from benchmarks import fleet
from benchmarks.fleet import Fleet, Seen, Standing


def test_the_calls_are_those_between_two_words_of_the_nodes_around_the_turn() -> None:
    said = [Standing(5, 10, 20, 0), Standing(10, 10, 70, 0), Standing(15, 10, 119, 0)]

    assert fleet._made(said, since=2) == 9.8


def test_of_a_turn_in_which_the_nodes_said_nothing_the_words_before_it_tell() -> None:
    assert fleet._made([Standing(5, 10, 20, 0), Standing(10, 10, 70, 0)], since=2) == 10


def test_before_the_nodes_said_something_twice_nothing_is_claimed() -> None:
    assert fleet._made([Standing(5, 10, 20, 0)], since=1) is None
    assert fleet._work(None) == "calls not counted yet"


def test_nodes_that_make_too_few_calls_are_named_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "NODES", 10)

    assert fleet._work(9.6) == "10 of 10 calls a second"
    assert fleet._work(9.4) == "THE NODES WERE THE LIMIT: 9 of 10 calls a second"


def test_the_queues_are_told_at_their_longest() -> None:
    seen = Seen(taken=[0.1, 0.1], spooled=[900, 1100, 1000], queued=[3, 12], lanes=[1, 0])

    told = "1,200 items waited, then 1,000, at most 1,100; in the dashboard at most 12 frames and 1 calls"
    assert fleet._queues(1200, seen) == told


def test_what_the_nodes_say_is_read_from_their_log(tmp_path: object) -> None:
    log = tmp_path / "nodes.log"  # type: ignore[operator]
    log.write_text(
        "10 nodes with 20 providers each, sim-0001 and so on\n"
        "5 s: 7 of 10 nodes linked, 3 have nothing to tell; 44 calls, 0 failed, 0 refused while draining; "
        "31 items stored, 12 wait, 0 dropped\n"
    )

    assert Fleet(None, None, log).said() == [Standing(5, 7, 44, 12)]  # type: ignore[arg-type]
