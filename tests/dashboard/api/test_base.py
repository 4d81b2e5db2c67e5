"""What every answer of the API has."""

from collections.abc import Callable
from typing import Any

import pytest

from dashboard.models import Scope

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]


def test_a_client_s_own_request_id_comes_back(caller: Make) -> None:
    answer = caller(Scope.READ).get("nodes", **{"X-Request-Id": "deploy-7.a_b"})

    assert answer["X-Request-Id"] == "deploy-7.a_b"


@pytest.mark.parametrize("asked", ["", "a b", "x" * 65, "a;b"])
def test_any_other_is_replaced(asked: str, caller: Make) -> None:
    answer = caller(Scope.READ).get("nodes", **{"X-Request-Id": asked})

    assert len(answer["X-Request-Id"]) == 32


def test_nothing_is_cached(caller: Make) -> None:
    assert caller(Scope.READ).get("nodes")["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["", "nowhere", "nodes/", "nodes/a/b", "traces/1/2"])
def test_an_address_that_is_none_is_404_as_a_problem(path: str, caller: Make) -> None:
    for api in (caller(), caller(Scope.READ)):
        answer = api.get(path)
        assert answer.status_code == 404
        assert answer["Content-Type"] == "application/problem+json"
