"""The table: rows, failures in plain sight, and verdicts that can go either way."""

import pytest

from benchmarks.rounds import Result, Role
from benchmarks.table import Goal, render

OURS = Result(name="ours", role=Role.OURS, rate=600.0, cpu_us=200.0, p50_ms=4.25, p99_ms=12.5)
LIMIT = Result(name="limit", role=Role.LIMIT, rate=1000.0, cpu_us=100.0)
MORE = Result(name="more", role=Role.OURS, rate=500.0, cpu_us=400.0)
GONE = Result(name="peer", role=Role.PEER, failure="it didn't start")


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (Goal(ratio=0.6, of="limit"), "reached     0.60 x limit (by CPU time 0.50 x), goal 0.6 x"),
        (Goal(ratio=0.7, of="limit"), "NOT REACHED 0.60 x limit (by CPU time 0.50 x), goal 0.7 x"),
        (Goal(rate=500), "reached     600/s (by CPU time 5,000/s), goal 500/s"),
        (Goal(rate=700), "NOT REACHED 600/s (by CPU time 5,000/s), goal 700/s"),
        (Goal(p99_ms=100), "reached     p99 12.50 ms, goal 100 ms"),
        (Goal(p99_ms=12.5), "NOT REACHED p99 12.50 ms, goal 12.5 ms"),
        (
            Goal(who="more", ratio=0.4, of="limit"),
            "reached     more: 0.50 x limit (by CPU time 0.25 x), goal 0.4 x",
        ),
        (Goal(ratio=2, of="peer"), "not known: peer was not measured, goal 2 x"),
    ],
)
def test_a_goal_is_judged_by_the_rate_and_shown_with_the_cpu_time(goal: Goal, verdict: str) -> None:
    assert render("bench", "calls", [OURS, LIMIT, MORE, GONE], [goal]).splitlines()[-1] == verdict


def test_a_row_for_each_with_what_went_wrong() -> None:
    wrong = Result(name="wrong", role=Role.LIMIT, rate=5.0, errors=3)

    text = render("bench", "calls", [OURS, wrong, GONE], [])

    assert "ours (ours)                                 600       200.00     4.25    12.50" in text
    assert "3 ERRORS" in text
    assert "peer (peer)                        not measured: it didn't start" in text


def test_when_ours_did_nothing_nothing_is_known() -> None:
    idle = Result(name="ours", role=Role.OURS)

    text = render("bench", "calls", [idle, LIMIT], [Goal(ratio=1, of="limit"), Goal(rate=1), Goal(p99_ms=1)])

    assert text.splitlines()[-3:] == [
        "not known: limit was not measured, goal 1 x",
        "NOT REACHED 0/s (not measured), goal 1/s",
        "not known: nothing was measured, goal 1 ms",
    ]


def test_stages_stand_below_their_row() -> None:
    ours = Result(name="ours", role=Role.OURS, stages={"render": (1.5, 20.0)})

    text = render("bench", "pages", [ours, LIMIT], [])

    assert text.splitlines()[3].split() == ["render", "1.50", "20.00", "at", "most"]
