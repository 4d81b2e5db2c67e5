"""`/api/v1/audit`: what was done, and whether that still stands."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.db import connection

from dashboard.models import AuditEntry, Node, Scope
from dashboard.services import audit_chain, audit_triggers, drain
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]


def test_the_audit_can_be_verified_from_what_is_told(node: Node, now: datetime, caller: Make) -> None:
    drain.request(node=node, actor=SYSTEM, reason="update", now=now)

    told = caller(Scope.AUDIT_READ).get("audit").json()["results"]

    oldest_first = told[::-1]
    assert [entry["n"] for entry in oldest_first] == list(range(1, AuditEntry.objects.count() + 1))
    previous = audit_chain.GENESIS
    for entry in oldest_first:
        assert entry["hash"] == audit_chain.link(previous, entry["canonical"])
        previous = entry["hash"]


@pytest.mark.parametrize(
    "query", ["action=drain", "actor=system&action=drain", "target=node:node-a&action=drain"]
)
def test_the_audit_is_filtered(query: str, node: Node, now: datetime, caller: Make) -> None:
    drain.request(node=node, actor=SYSTEM, reason="update", now=now)

    [entry] = caller(Scope.AUDIT_READ).get(f"audit?{query}").json()["results"]

    assert (entry["action"], entry["reason"]) == ("drain", "update")


def test_an_action_that_there_is_not_is_400(caller: Make) -> None:
    answer = caller(Scope.AUDIT_READ).get("audit?action=explode")

    assert answer.status_code == 400
    assert "undrain" in answer.json()["detail"]


def test_a_trail_that_is_whole_says_so_with_its_head(node: Node, now: datetime, caller: Make) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)

    told = caller(Scope.AUDIT_READ).get("audit/verify").json()

    newest = AuditEntry.objects.get(n=told["entries"])
    assert (told["ok"], told["fault"], told["n"]) == (True, None, None)
    assert told["head"] == {"n": newest.n, "hash": newest.hash}


def test_a_trail_that_lost_its_guard_says_what_is_wrong(caller: Make) -> None:
    audit_triggers.remove(connection)

    told = caller(Scope.AUDIT_READ).get("audit/verify").json()

    assert (told["ok"], told["fault"]) == (False, "unguarded")
    assert told["detail"]


def test_a_head_that_was_kept_shows_what_was_cut_off(node: Node, now: datetime, caller: Make) -> None:
    api = caller(Scope.AUDIT_READ)
    head = api.get("audit/verify").json()["head"]
    drain.request(node=node, actor=SYSTEM, now=now)

    still_there = api.get(f"audit/verify?n={head['n']}&hash={head['hash']}").json()
    cut_off = api.get(f"audit/verify?n={head['n'] + 100}&hash={head['hash']}").json()
    other = api.get(f"audit/verify?n={head['n']}&hash={'0' * 64}").json()

    assert (still_there["ok"], cut_off["fault"], other["fault"]) == (True, "removed", "changed")


@pytest.mark.parametrize(
    ("query", "field"),
    [("n=1", "hash"), (f"hash={'0' * 64}", "n"), ("n=x&hash=0", "n"), ("n=1&hash=0", "hash")],
)
def test_half_a_head_is_none(query: str, field: str, caller: Make) -> None:
    answer = caller(Scope.AUDIT_READ).get(f"audit/verify?{query}")

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("outcome=refused", []),
        ("outcome=done&text=UPD", ["update"]),
        ("since=2026-01-01T12:00:00Z&action=drain", ["update"]),
        ("since=2026-01-01T13:00:00%2B01:00&action=drain", ["update"]),
        ("until=2026-01-01T12:00:00Z&action=drain", []),
    ],
)
def test_the_audit_is_narrowed_to_outcome_words_and_time(
    query: str, found: list[str], node: Node, now: datetime, caller: Make
) -> None:
    drain.request(node=node, actor=SYSTEM, reason="update", now=now)

    told = caller(Scope.AUDIT_READ).get(f"audit?{query}").json()

    assert [entry["reason"] for entry in told["results"]] == found


@pytest.mark.parametrize(
    "moment",
    ["yesterday", "2026-01-01T12:00:00", "2026-01-01T12:00:00+01:00", "0001-01-01T00:00:00%2B14:00", "7"],
)
def test_a_time_that_is_none_is_400(moment: str, caller: Make) -> None:
    answer = caller(Scope.AUDIT_READ).get(f"audit?since={moment}")

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "since")
