"""Errors as problem+json, whatever went wrong."""

import logging
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import Http404

from dashboard.models import Scope

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("raised", "status", "title"), [(Http404(), 404, "Not Found"), (PermissionDenied(), 403, "Forbidden")]
)
def test_the_framework_s_own_errors_are_told_alike(
    raised: Exception, status: int, title: str, caller: Make
) -> None:
    with patch("dashboard.api.nodes.selector.gather", side_effect=raised):
        answer = caller(Scope.READ).get("nodes")

    told = answer.json()
    assert (answer.status_code, told["status"], told["title"]) == (status, status, title)
    assert told["type"] == "about:blank"
    assert "errors" not in told


def test_a_database_that_is_locked_for_too_long_is_503(caller: Make) -> None:
    with patch("dashboard.api.nodes.selector.gather", side_effect=OperationalError("database is locked")):
        answer = caller(Scope.READ).get("nodes")

    assert (answer.status_code, answer["Retry-After"]) == (503, "5")


def test_what_nobody_expected_is_500_without_details_and_in_the_log(
    caller: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        patch("dashboard.api.nodes.selector.gather", side_effect=RuntimeError("secret inside")),
        caplog.at_level(logging.ERROR),
    ):
        answer = caller(Scope.READ).get("nodes")

    assert answer.status_code == 500
    assert answer["Content-Type"] == "application/problem+json"
    assert "secret" not in answer.content.decode()
    assert "secret inside" in caplog.text


def test_another_representation_is_406_as_a_problem(caller: Make) -> None:
    answer = caller(Scope.READ).get("nodes", Accept="text/html")

    assert (answer.status_code, answer["Content-Type"]) == (406, "application/problem+json")


def test_the_instance_is_the_address_as_it_may_be_written(caller: Make) -> None:
    assert caller(Scope.READ).get("nodes/%C3%BC%20").json()["instance"] == "/api/v1/nodes/%C3%BC%20"
