"""Who owned which part of a run, and whether anything is missing."""

from datetime import UTC, datetime
from typing import Any

import pytest

from dashboard.models import Run
from dashboard.selectors.run_ribbon import Ribbon, ribbon
from tests.dashboard.web import factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def of(**fields: Any) -> Ribbon:
    return ribbon(factory.run("run_1", at=NOW, **fields))


def sentences(found: Ribbon) -> list[str]:
    return [finding.sentence for finding in found.findings]


def test_a_run_of_one_owner_is_one_stretch_without_a_gap() -> None:
    found = of(epochs=[factory.epoch(1, "node-a", 2, at=NOW.isoformat())])

    (only,) = found.stretches
    assert (only.node, only.first, only.last, only.events, only.superseded) == ("node-a", 2, 22, 21, False)
    assert (only.at, found.last_seq, found.untold, found.whole) == (NOW, 22, 0, True)
    assert sentences(found) == [
        "No gap: events 1 to 22 are all there: its making, 1 claim, 20 chunks.",
        "One owner: node-a.",
    ]


def test_every_kind_of_event_is_counted() -> None:
    epochs = [factory.epoch(1, "node-a", 2), factory.epoch(2, "node-b", 13)]
    found = of(epochs=epochs, releases=1, chunks=15, cancelled_by="alice", status="cancelled", ended_at=NOW)

    assert [(each.first, each.last) for each in found.stretches] == [(2, 12), (13, 21)]
    assert sentences(found) == [
        "No gap: events 1 to 21 are all there: its making, 2 claims, 15 chunks, 1 release, "
        "1 cancel request, 1 end.",
        "One owner at a time: each of 2 epochs begins behind the one before it; every one went on behind "
        "the text so far.",
    ]


def test_a_restart_replaces_what_stands_before_it_in_its_generation() -> None:
    found = of(
        epochs=[
            factory.epoch(1, "node-a", 2),
            factory.epoch(2, "node-b", 10, reason="restarted", superseded_from=1),
            factory.epoch(3, "node-c", 15),
            factory.epoch(4, "node-a", 18, reason="restarted", superseded_from=10),
        ]
    )

    assert [each.superseded for each in found.stretches] == [True, True, True, False]
    assert "begun anew 2 ×" in sentences(found)[1]


@pytest.mark.parametrize(
    ("last_seq", "said"), [(25, "3 missing: the log ends at event 25"), (20, "2 too many: the log ends at")]
)
def test_events_that_do_not_add_up_are_said(last_seq: int, said: str) -> None:
    found = of(last_seq=last_seq)

    assert said in sentences(found)[0]
    assert found.whole is False


@pytest.mark.parametrize(
    "second",
    [factory.epoch(3, "node-b", 12), factory.epoch(2, "node-b", 2), factory.epoch(2, "node-b", 1)],
)
def test_owners_that_do_not_follow_each_other_are_said(second: dict[str, Any]) -> None:
    found = of(epochs=[factory.epoch(1, "node-a", 2), second])

    assert found.whole is False
    assert f"Epoch {second['epoch']} of node-b begins at event {second['first_seq']}" in sentences(found)[1]


def test_older_epochs_that_are_not_told_any_more_are_counted() -> None:
    found = of(epochs=[factory.epoch(6, "node-a", 40), factory.epoch(7, "node-b", 50)], epoch=7, last_seq=28)

    assert (found.untold, found.whole) == (5, True)


def test_a_run_that_nobody_claimed_has_no_stretch() -> None:
    found = of(epochs=[], chunks=0, status="failed", ended_at=NOW)

    assert (found.stretches, found.whole) == ([], True)
    assert sentences(found)[1] == "Nobody has claimed it."


def test_what_an_older_node_did_not_tell_cannot_be_checked() -> None:
    untold = Run(run_id="run_2", status="completed", epoch=2, ended_at=NOW)

    found = ribbon(untold)

    assert (found.whole, found.untold) == (None, 2)
    assert sentences(found) == [
        "Its node told no numbers, so nothing can be checked.",
        "Nobody told who owned it.",
    ]
