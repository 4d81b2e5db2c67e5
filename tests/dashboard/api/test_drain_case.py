"""The endpoint of drain as automation uses it, from the first call to the last."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from django.db import DatabaseError

from dashboard.models import AuditEntry, Node, Scope

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]
PATH = "nodes/node-a/drain"


def audited() -> list[tuple[str, str, str]]:
    """Return what is on record of node-a's drains: who, what, and what came of it, oldest first."""
    entries = AuditEntry.objects.filter(target="node:node-a", action__in=["drain", "undrain"]).order_by("n")
    return list(entries.values_list("actor_name", "action", "outcome"))


def test_drain_case_29_begin_again_cancel_again_and_nonsense(online: Node, caller: Make) -> None:
    api = caller(Scope.NODES_DRAIN)

    begun = api.send(PATH, b"{}")
    again = api.send(PATH)
    cancelled = api.send(PATH, b'{"action": "cancel"}')
    nothing = api.send(PATH, b'{"action": "cancel"}')
    nonsense = api.send(PATH, b'{"action": "explode"}')

    assert (begun.status_code, begun.json()["changed"]) == (202, True)
    assert (again.status_code, again.json()["changed"]) == (202, False)
    assert (cancelled.status_code, cancelled.json()["was_draining"]) == (202, True)
    assert (nothing.status_code, nothing.json()["was_draining"]) == (200, False)
    assert nonsense.status_code == 400
    assert "explode" in nonsense.json()["detail"]
    assert audited() == [
        *(("ci", "drain", "done"), ("ci", "drain", "done")),
        *(("ci", "undrain", "done"), ("ci", "undrain", "done")),
        ("ci", "drain", "refused"),
    ]


def test_drain_case_29_who_may_not_drains_nothing(online: Node, caller: Make) -> None:
    api, wrong = caller(Scope.NODES_DRAIN), caller(Scope.NODES_DRAIN)
    wrong._headers["Authorization"] += "x"

    statuses = [each.send(PATH).status_code for each in (caller(), wrong, caller(Scope.READ))]
    with patch("dashboard.services.tokens.Token.objects.select_related", side_effect=DatabaseError("gone")):
        down = api.send(PATH).status_code

    assert statuses == [401, 401, 403]
    assert down == 503
    assert caller(Scope.READ).get(PATH).status_code == 200
    assert caller().get(PATH).status_code == 401
    assert audited() == []
