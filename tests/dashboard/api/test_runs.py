"""`/api/v1/runs`: which there are, one of them, and an order for a node of its log to cancel it."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from dashboard.models import AuditEntry, Node, OutboxRow, Scope
from tests.dashboard.web.factory import epoch, run, seen_node

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]
PATH = "runs/run_k3v9x2_1/cancel"


def test_with_no_node_of_its_log_there_the_order_waits(node: Node, caller: Make) -> None:
    answer = caller(Scope.RUNS_CANCEL).send(PATH, b'{"reason": "wrong prompt"}')

    told = answer.json()
    assert (answer.status_code, told["run"], told["observed"]) == (202, "run_k3v9x2_1", "log_unreachable")
    assert OutboxRow.objects.get().buffer_id == told["order"]
    entry = AuditEntry.objects.get(action="run.cancel")
    assert (entry.target, entry.reason, entry.actor_name) == ("run:run_k3v9x2_1", "wrong prompt", "ci")


def test_a_node_of_its_log_gets_the_order_and_the_second_is_the_same(online: Node, caller: Make) -> None:
    Node.objects.update(log_id="k3v9x2qa")
    api = caller(Scope.RUNS_CANCEL)

    first, second = api.send(PATH), api.send(PATH, b"{}")

    assert (first.status_code, first.json()["observed"]) == (202, "pending")
    assert second.json()["order"] == first.json()["order"]


def test_an_order_that_a_node_took_is_200(online: Node, caller: Make) -> None:
    api = caller(Scope.RUNS_CANCEL)
    api.send(PATH)
    OutboxRow.objects.update(state="done")

    answer = api.send(PATH)

    assert (answer.status_code, answer.json()["observed"]) == (200, "observed")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("runs/nonsense/cancel", b"", "run_id"),
        ("runs/run%0A2026-01-01 ERROR it was me/cancel", b"", "run_id"),
        (PATH, b'{"reason": 7}', "reason"),
        (PATH, b'{"force": true}', "force"),
        (PATH, b'{"reason": "' + b"x" * 501 + b'"}', "reason"),
    ],
)
def test_an_order_that_cant_be_is_named_and_audited(
    path: str, body: bytes, field: str, caller: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = caller(Scope.RUNS_CANCEL).send(path, body)

    assert "it was me" not in caplog.text
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)
    assert AuditEntry.objects.get(outcome="refused").action == "run.cancel"
    assert not OutboxRow.objects.exists()


@pytest.fixture
def some(now: datetime) -> None:
    """Two live runs of node-a, and one that node-b took over and ended."""
    seen_node("node-a", now=now)
    epochs = [epoch(1, "node-a", 2), epoch(2, "node-b", 12, at=now.isoformat())]
    run("run_k3v9x2_0", at=now, status="completed", ended_at=now, epochs=epochs, takeovers=1)
    run("run_k3v9x2_1", at=now)
    run("run_k3v9x2_2", at=now, status="waiting")


def ids(told: Any) -> list[str]:
    return [row["id"][-1] for row in told["results"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["2", "1", "0"]),
        ("live=true", ["2", "1"]),
        ("node=node-b", ["0"]),
        ("status=waiting", ["2"]),
        ("node=node-a&status=running&live=true", ["1"]),
        ("node=nobody", []),
    ],
)
def test_runs_are_filtered(some: None, caller: Make, query: str, found: list[str]) -> None:
    assert ids(caller(Scope.READ).get(f"runs?{query}").json()) == found


def test_runs_come_newest_first_in_pages(some: None, caller: Make) -> None:
    api = caller(Scope.READ)

    first = api.get("runs?limit=2").json()
    rest = api.get(first["next"].removeprefix("/api/v1/")).json()

    assert (ids(first), ids(rest), rest["next"]) == (["2", "1"], ["0"], None)


@pytest.mark.parametrize("query", ["live=false", "status=odd", "owner=node-a"])
def test_a_filter_that_is_none_is_refused_by_name(some: None, caller: Make, query: str) -> None:
    answer = caller(Scope.READ).get(f"runs?{query}")

    assert (answer.status_code, query.partition("=")[0] in answer.json()["detail"]) == (400, True)


def test_one_run_tells_who_owned_what_and_that_nothing_is_missing(some: None, caller: Make) -> None:
    told = caller(Scope.READ).get("runs/run_k3v9x2_0").json()

    assert (told["id"], told["status"], told["owner"], told["takeovers"]) == (
        *("run_k3v9x2_0", "completed"),
        *("node-b", 1),
    )
    assert [(each["node"], each["first_seq"], each["last_seq"]) for each in told["epochs"]] == [
        ("node-a", 2, 11),
        ("node-b", 12, 24),
    ]
    assert (told["whole"], told["epochs_left_out"], len(told["findings"])) == (True, 0, 2)


def test_of_a_live_run_it_says_whether_its_owner_is_heard(some: None, caller: Make, now: datetime) -> None:
    run("run_k3v9x2_3", at=now, epochs=[epoch(1, "node-x", 2)])
    api = caller(Scope.READ)

    assert api.get("runs/run_k3v9x2_3").json()["owner_heard"] is False


@pytest.mark.parametrize("run_id", ["run_k3v9x2_9", "nonsense", "run_k3v9x2_"])
def test_an_unknown_run_is_not_found(some: None, caller: Make, run_id: str) -> None:
    assert caller(Scope.READ).get(f"runs/{run_id}").status_code == 404
