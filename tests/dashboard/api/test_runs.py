"""`/api/v1/runs/{id}/cancel`: an order for a node of the run's log."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from dashboard.models import AuditEntry, Node, OutboxRow, Scope

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
