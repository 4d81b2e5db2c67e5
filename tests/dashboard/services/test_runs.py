"""Runs: the present by health, the history by `run_end`."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dashboard.models import Node, Run
from dashboard.services import nodes, runs
from dashboard.services.actor import SYSTEM
from dashboard.services.columns import Unfit
from dashboard.services.runs import NAMED_MAX, Moved
from meshcore.frames import RunEndItem
from meshcore.run_reports import EPOCHS_MAX, Epoch, RunReport
from tests.dashboard.conftest import NOW

pytestmark = pytest.mark.django_db
ID = "run_abcdef_1"


@pytest.fixture
def other(db: None) -> Node:
    return nodes.add(name="node-b", actor=SYSTEM, now=NOW)[0]


def epoch(number: int, node: str = "node-a", **fields: Any) -> Epoch:
    reason = "started" if number == 1 else "continued"
    return Epoch(epoch=number, node=node, reason=reason, first_seq=number * 10, **fields)


def report(run_id: str = ID, **fields: Any) -> RunReport:
    made = RunReport(run_id=run_id, status="running", epoch=1, last_seq=12, chunks=10, epochs=(epoch(1),))
    return msgspec.structs.replace(made, **fields)


def run_end(run_id: str = ID, **fields: Any) -> RunEndItem:
    made = RunEndItem(
        seq=1, at=NOW, run_id=run_id, status="completed", reason="stop", epoch=1, last_seq=20, chunks=17
    )
    return msgspec.structs.replace(made, epochs=fields.pop("epochs", (epoch(1),)), **fields)


def say(node: Node, *reports: RunReport, full: bool = False, now: datetime = NOW) -> Moved:
    (moved,) = runs.update([runs.read(node=node, reports=reports, full=full, now=now)])
    return moved


def end(*items: RunEndItem, now: datetime = NOW) -> None:
    runs.store_ends(items, now=now)


def test_what_its_owner_says_of_a_run_is_its_row(node: Node) -> None:
    created_at = NOW - timedelta(seconds=3)
    moved = say(
        node,
        report(capability="llm.chat", model="tiny", provider="alpha", caller="ci", created_at=created_at),
    )

    row = Run.objects.get()
    assert (row.run_id, row.status, row.owner, row.epoch) == (ID, "running", "node-a", 1)
    assert (row.last_seq, row.chunks, row.takeovers) == (12, 10, 0)
    assert (row.capability, row.model, row.provider, row.caller) == ("llm.chat", "tiny", "alpha", "ci")
    assert (row.created_at, row.first_heard_at, row.ended_at, row.told) == (created_at, NOW, None, False)
    assert row.epochs == [{"epoch": 1, "node": "node-a", "reason": "started", "first_seq": 10}]
    assert moved == Moved(any=True, turned=(ID,))
    assert moved.keys("node-a") == ["runs:node-a", "runs", f"run:{ID}"]


def test_progress_is_written_and_nothing_turned(node: Node) -> None:
    say(node, report())

    moved = say(node, report(last_seq=30, chunks=28), now=NOW + timedelta(seconds=5))

    row = Run.objects.get()
    assert (row.last_seq, row.chunks, row.heard_at) == (30, 28, NOW + timedelta(seconds=5))
    assert (moved.any, moved.turned, row.first_heard_at) == (True, (), NOW)
    assert moved.keys("node-a") == ["runs:node-a"]


def test_the_later_epoch_wins_whoever_tells_first(node: Node, other: Node) -> None:
    say(node, report())

    taken = say(other, report(epoch=2, takeovers=1, epochs=(epoch(2, "node-b"),)))
    late = say(node, report(last_seq=99))
    vanished = say(node, full=True)

    row = Run.objects.get()
    assert (row.owner, row.epoch, row.last_seq, row.status) == ("node-b", 2, 12, "running")
    assert [each["node"] for each in row.epochs] == ["node-a", "node-b"]
    assert taken.turned == (ID,)
    assert late == vanished == Moved()


def test_a_run_that_its_owner_does_not_tell_of_any_more_waits(node: Node, other: Node) -> None:
    say(node, report("run_1"), report("run_2"), report("run_3", status="cancelling"))
    say(other, report("run_4", epoch=2))

    moved = say(node, report("run_2"), full=True)

    found = dict(Run.objects.values_list("run_id", "status"))
    assert found == {"run_1": "waiting", "run_2": "running", "run_3": "cancelling", "run_4": "running"}
    assert moved.turned == ("run_1",)


def test_an_ended_run_never_lives_again(node: Node, other: Node) -> None:
    say(node, report("run_1"), report("run_2"))
    say(node, report("run_1", status="completed", reason="stop", last_seq=20))
    end(run_end("run_2"))

    late = say(node, report("run_1"), report("run_2"))
    from_another = say(other, report("run_1", epoch=5), report("run_2", epoch=5))

    assert set(Run.objects.values_list("status", "owner", "epoch")) == {("completed", "node-a", 1)}
    assert late == from_another == Moved()


def test_the_write_itself_holds_what_two_transactions_could_break(node: Node) -> None:
    end(run_end("run_1"))
    say(node, report("run_2", epoch=3))

    stale = [runs._row(None, report(run_id, epoch=2), owner="x", now=NOW) for run_id in ("run_1", "run_2")]
    runs._write(stale, where=runs.NEWER)
    again = runs._row(None, run_end("run_1", status="failed"), owner="x", now=NOW)
    runs._write([again], where=runs.UNTOLD)

    assert set(Run.objects.values_list("run_id", "status", "owner")) == {
        ("run_1", "completed", "node-a"),
        ("run_2", "running", "node-a"),
    }


def test_the_end_of_an_unknown_run_makes_its_row(node: Node) -> None:
    end(run_end(epochs=(epoch(1), epoch(2, "node-b")), epoch=2, takeovers=1, usage={"total_tokens": 9}))

    row = Run.objects.get()
    assert (row.status, row.reason, row.owner, row.epoch, row.takeovers) == (
        *("completed", "stop", "node-b"),
        *(2, 1),
    )
    assert (row.ended_at, row.told, row.usage, row.last_seq) == (NOW, True, {"total_tokens": 9}, 20)


def test_the_end_of_a_run_counts_once_and_completes_what_health_said(node: Node) -> None:
    say(node, report(capability="llm.chat", provider="alpha"))
    say(node, report(status="completed"), now=NOW + timedelta(seconds=1))

    end(run_end(usage={"total_tokens": 9}))
    end(run_end(status="failed", reason="stalled"))
    end(run_end("run_2", status="failed"), run_end("run_2"))

    row = Run.objects.get(run_id=ID)
    assert (row.status, row.reason, row.capability, row.provider) == (
        "completed",
        "stop",
        "llm.chat",
        "alpha",
    )
    assert (row.usage, row.ended_at) == ({"total_tokens": 9}, NOW)
    assert Run.objects.get(run_id="run_2").status == "failed"


def test_what_an_older_node_leaves_out_of_an_end_stays_as_it_was(node: Node) -> None:
    say(node, report(model="tiny"))

    end(RunEndItem(seq=1, at=NOW, run_id=ID, status="failed", reason="owner_lost"))

    row = Run.objects.get()
    assert (row.status, row.owner, row.epoch, row.model, row.chunks) == ("failed", "node-a", 1, "tiny", 10)
    assert len(row.epochs) == 1


def test_epochs_are_gathered_up_to_a_bound(node: Node) -> None:
    for first in range(1, EPOCHS_MAX + 9, 8):
        say(node, report(epoch=first + 7, epochs=tuple(epoch(number) for number in range(first, first + 8))))

    row = Run.objects.get()
    assert [each["epoch"] for each in row.epochs] == list(range(9, EPOCHS_MAX + 9))


def test_a_status_of_a_newer_node_is_passed_over_and_texts_are_cut(node: Node) -> None:
    say(node, report("run_1", status="dreaming"), report("run_2", model="m" * 500))

    assert list(Run.objects.values_list("run_id", "model")) == [("run_2", "m" * 200)]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (report(""), "run_id"),
        (report("r" * 81), "run_id"),
        (report(created_at=datetime(1, 1, 1, tzinfo=NOW.tzinfo)), "created_at"),
        (report(epochs=(epoch(1, at=datetime(1, 1, 1, tzinfo=NOW.tzinfo)),)), "at"),
    ],
)
def test_what_fits_no_column_is_refused_by_name(node: Node, wrong: RunReport, named: str) -> None:
    with pytest.raises(Unfit, match=named):
        say(node, wrong)


@pytest.mark.parametrize("wrong", [run_end(""), run_end(status="running"), run_end(status="odd")])
def test_an_end_that_is_none_is_refused(wrong: RunEndItem) -> None:
    with pytest.raises(Unfit, match=r"run_id|expected cancelled, completed, failed"):
        runs.checked(wrong)


def test_the_queries_are_as_many_for_one_run_as_for_many(node: Node) -> None:
    counts = []
    for size in (1, 60):
        said = [report(f"run_{size}_{n}") for n in range(size)]
        with CaptureQueriesContext(connection) as told:
            say(node, *said)
        with CaptureQueriesContext(connection) as full:
            say(node, *said, full=True)
        with CaptureQueriesContext(connection) as lost:
            say(node, full=True)
        with CaptureQueriesContext(connection) as ended:
            end(*(run_end(f"run_{size}_{n}") for n in range(size)))
        counts.append([len(told), len(full), len(lost), len(ended)])
    with CaptureQueriesContext(connection) as nothing:
        say(node)
        end()

    assert counts[0] == counts[1] == [2, 3, 3, 2]
    assert len(nothing) == 0


def test_of_many_runs_that_turned_some_are_named() -> None:
    many = [f"run_{n}" for n in range(NAMED_MAX + 5)]

    assert runs.keys_of(many) == ["runs", *(f"run:{run_id}" for run_id in many[:NAMED_MAX])]
    assert runs.keys_of([]) == []
