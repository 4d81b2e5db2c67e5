"""Metrics are open to this machine itself, else only for who may read."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import patch

import pytest
from channels.testing import HttpCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from dashboard import runtime
from dashboard.asgi import application
from dashboard.edge import metrics
from dashboard.models import AuditEntry, Node, Scope
from dashboard.services import audit_refusals, tokens
from dashboard.services.actor import SYSTEM
from meshcore.clock import utcnow

pytestmark = pytest.mark.django_db(transaction=True)

ELSEWHERE = "203.0.113.9"
HERE = "127.0.0.1"
Ask = Callable[..., Any]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Asks /metrics from an address, with headers; returns status, headers, body."""

    async def get(address: str, method: str = "GET", **headers: str) -> tuple[int, dict[bytes, bytes], str]:
        sent = {"host": "127.0.0.1:8000", **headers}
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()]
        communicator = HttpCommunicator(application, method, "/metrics", headers=pairs)
        communicator.scope["client"] = [address, 4711]
        response = await communicator.get_response(timeout=10)
        return response["status"], dict(response["headers"]), response["body"].decode()

    async with runtime.running(jobs=()):
        yield get


@pytest.fixture
def secret_of(db: None) -> Callable[..., str]:
    """Makes a token of some scopes; returns its secret."""
    return lambda *scopes: tokens.issue(name="scraper", scopes=scopes, actor=SYSTEM)[1]


@pytest.fixture
def reads(secret_of: Callable[..., str]) -> str:
    """A header that may read."""
    return f"Bearer {secret_of(Scope.READ)}"


@pytest.fixture
def drains(secret_of: Callable[..., str]) -> str:
    """A header that may drain, and not read."""
    return f"Bearer {secret_of(Scope.NODES_DRAIN)}"


def cookie(user: User) -> str:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


async def test_this_machine_reads_them_without_a_token(node: Node, ask: Ask) -> None:
    status, headers, body = await ask(HERE)

    assert status == 200
    assert headers[b"content-type"].startswith(b"text/plain; version=")
    assert 'meshboard_nodes{state="never seen"} 1.0' in body
    assert 'meshboard_lane_waiting{lane="ingest"} 0.0' in body
    assert "meshboard_node_links 0.0" in body
    assert "meshboard_ingest_waiting_frames 0.0" in body
    assert "meshboard_ingest_oldest_seconds 0.0" in body
    assert "meshboard_ingest_withheld_frames 0.0" in body
    assert "meshboard_ingest_replaying_nodes 0.0" in body
    assert "meshboard_ingest_replays_put_off 0.0" in body
    assert "meshboard_change_id" in body
    assert "process_resident_memory_bytes" in body


async def test_gauges_of_others_are_shown(ask: Ask) -> None:
    runtime.current().gauges["live_pages"] = lambda: 3

    assert "meshboard_live_pages 3.0" in (await ask(HERE))[2]


async def test_elsewhere_a_token_that_may_read_is_needed(ask: Ask, reads: str, drains: str) -> None:
    assert (await ask(ELSEWHERE, authorization=reads))[0] == 200
    assert (await ask(ELSEWHERE, authorization=drains))[0] == 403

    status, headers, body = await ask(ELSEWHERE)
    assert (status, headers[b"www-authenticate"]) == (401, b"Bearer")
    assert "meshboard_" not in body
    assert (await ask(ELSEWHERE, authorization="Bearer msh_unknown"))[0] == 401
    assert (await ask(ELSEWHERE, authorization="Basic YTpi"))[0] == 401


async def test_who_may_not_read_them_is_counted_for_the_audit(ask: Ask, drains: str) -> None:
    for authorization in (drains, "Bearer msh_unknown", "Bearer msh_unknown"):
        await ask(ELSEWHERE, authorization=authorization)

    await runtime.current().in_control(audit_refusals.flush_all, now=utcnow())

    refused = AuditEntry.objects.filter(action="access").order_by("n")
    assert [told async for told in refused.values_list("actor_name", "target", "after__status", "count")] == [
        ("203.0.113.0/24", "GET metrics", 403, 1),
        ("203.0.113.0/24", "GET metrics", 401, 2),
    ]


async def test_whoever_came_through_a_proxy_does_not_count_as_this_machine(ask: Ask) -> None:
    assert (await ask(HERE, x_forwarded_for="127.0.0.1"))[0] == 401


async def test_a_foreign_name_does_not_count_as_this_machine(ask: Ask) -> None:
    assert (await ask(HERE, host="rebound.example"))[0] == 401


@pytest.fixture
def bobs(bob: User) -> str:
    return cookie(bob)


@pytest.fixture
def charlies(charlie: User) -> str:
    return cookie(charlie)


async def test_a_person_reads_them_by_their_groups(ask: Ask, bobs: str, charlies: str) -> None:
    assert (await ask(ELSEWHERE, cookie=bobs))[0] == 200
    assert (await ask(ELSEWHERE, cookie=charlies))[0] == 403


async def test_tokens_that_cannot_be_checked_let_nobody_in(ask: Ask, reads: str) -> None:
    unavailable = tokens.TokensUnavailable("the database doesn't answer")
    with patch.object(metrics.tokens, "authenticate", side_effect=unavailable):
        assert (await ask(ELSEWHERE, authorization=reads))[0] == 503


async def test_only_get_and_head(ask: Ask) -> None:
    status, headers, _ = await ask(HERE, "POST")
    assert (status, headers[b"allow"]) == (405, b"GET, HEAD")

    assert await ask(HERE, "HEAD") == (200, (await ask(HERE, "HEAD"))[1], "")
