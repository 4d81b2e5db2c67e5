"""Pages answer to our names; the API and what watches over us answer to any."""

import logging

import pytest
from django.contrib.auth.models import User
from django.test import Client

from dashboard.models import AuditEntry, Node

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("get", path) for path in ("/", "/traces/", "/login/", "/admin/", "/live/cells?page=fleet", "/no")),
        *(("get", path) for path in ("/api/docs/", "/api/docs/openapi.json")),
        *(("post", path) for path in ("/login/", "/logout/", "/nodes/node-a/drain/")),
    ],
)
def test_a_foreign_name_gets_no_page(
    method: str, path: str, alice: User, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Client(headers={"Host": "evil.example"})
    browser.force_login(alice)

    answer = getattr(browser, method)(path)

    assert answer.status_code == 400
    assert "makes no sense" in answer.content.decode()
    assert not AuditEntry.objects.filter(action="drain").exists()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("name", ["127.0.0.1:8000", "localhost", "[::1]:8000"])
def test_our_own_names_get_pages(name: str, alice: User) -> None:
    browser = Client(headers={"Host": name})
    browser.force_login(alice)

    assert browser.get("/").status_code == 200


def test_the_api_answers_by_any_name_because_its_token_can_not_be_borrowed() -> None:
    assert Client(headers={"Host": "dashboard"}).get("/api/v1/nodes").status_code == 401
