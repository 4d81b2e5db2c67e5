"""Nobody gets in, and nobody is written down, from an address that only they themselves say is theirs."""

import ipaddress
from collections.abc import AsyncIterator
from typing import Any

import pytest
from axes.models import AccessAttempt
from channels.testing import HttpCommunicator, WebsocketCommunicator
from django.contrib.auth.models import User

from dashboard import runtime
from dashboard.asgi import route
from dashboard.edge.address import BehindProxies
from dashboard.models import AuditEntry, Node, Scope
from dashboard.runtime import Runtime
from dashboard.services import tokens
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 10.0
PROXY, STRANGER, OFFICE = "10.0.0.1", "203.0.113.9", "192.0.2.7"
application = BehindProxies(route, trusted=[ipaddress.ip_network("10.0.0.0/8")])

# (who connects, what X-Forwarded-For says, whether that is somebody in the office)
WAYS = [
    pytest.param(OFFICE, "", True, id="directly"),
    pytest.param(PROXY, OFFICE, True, id="through the proxy"),
    pytest.param(PROXY, f"{STRANGER}, {OFFICE}", True, id="behind the proxy, with a word before it"),
    pytest.param(STRANGER, OFFICE, False, id="a stranger says so"),
    pytest.param(STRANGER, f"{OFFICE}, {PROXY}", False, id="a stranger plays the proxy"),
    pytest.param(PROXY, f"{OFFICE}, {STRANGER}", False, id="a stranger says so through the proxy"),
    pytest.param(PROXY, "", False, id="the proxy itself"),
]


@pytest.fixture
async def rt() -> AsyncIterator[Runtime]:
    async with runtime.running(jobs=()) as running:
        yield running


@pytest.fixture
def secret(node: Node) -> str:
    """A token of node-a for the office alone."""
    return tokens.issue(
        name="office", scopes=[Scope.NODES_PUSH], node=node, networks=[f"{OFFICE}/32"], actor=SYSTEM
    )[1]


def headers_of(forwarded: str, **more: str) -> list[tuple[bytes, bytes]]:
    pairs = {"host": "127.0.0.1:8000", "x-forwarded-for": forwarded, **more}
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in pairs.items() if value]


async def ask(peer: str, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
    wire = HttpCommunicator(
        application, method, path, body=body, headers=headers_of(headers.pop("forwarded"), **headers)
    )
    wire.scope["client"] = [peer, 4711]
    answer = await wire.get_response(timeout=SECONDS)
    await wire.wait(timeout=SECONDS)
    return answer


@pytest.mark.parametrize(("peer", "forwarded", "from_office"), WAYS)
async def test_a_token_bound_to_a_network_opens_the_api_from_there_alone(
    peer: str, forwarded: str, from_office: bool, rt: Runtime, secret: str
) -> None:
    answer = await ask(
        peer,
        "POST",
        "/api/v1/nodes/node-a/drain",
        forwarded=forwarded,
        authorization=f"Bearer {secret}",
        content_length="0",
    )

    assert answer["status"] == (202 if from_office else 401)
    found = await rt.in_render(lambda: list(AuditEntry.objects.filter(action="drain").values_list("address")))
    assert found == ([(OFFICE,)] if from_office else [])


@pytest.mark.parametrize(("peer", "forwarded", "from_office"), WAYS)
async def test_a_token_bound_to_a_network_opens_a_link_from_there_alone(
    peer: str, forwarded: str, from_office: bool, rt: Runtime, secret: str
) -> None:
    headers = headers_of(forwarded, authorization=f"Bearer {secret}")
    wire = WebsocketCommunicator(application, "/link/v1", headers=headers)
    wire.scope["client"] = [peer, 4711]
    await wire.connect(SECONDS)

    if from_office:
        assert await wire.receive_nothing()
    else:
        assert (await wire.receive_output(SECONDS))["code"] == 4401
    await wire.disconnect(timeout=SECONDS)


@pytest.mark.parametrize(
    ("peer", "forwarded", "counted"),
    [
        (STRANGER, OFFICE, STRANGER),
        (PROXY, f"{OFFICE}, {STRANGER}", STRANGER),
        (PROXY, STRANGER, STRANGER),
    ],
)
async def test_wrong_passwords_are_counted_where_they_come_from(
    peer: str, forwarded: str, counted: str, rt: Runtime, alice: User
) -> None:
    cookie = "c" * 32
    form = f"username=alice&password=wrong&csrfmiddlewaretoken={cookie}".encode()

    answer = await ask(
        peer,
        "POST",
        "/login/",
        form,
        forwarded=forwarded,
        cookie=f"meshboard_csrf={cookie}",
        content_type="application/x-www-form-urlencoded",
        content_length=str(len(form)),
    )

    assert answer["status"] == 200
    assert await rt.in_render(lambda: AccessAttempt.objects.get().ip_address) == counted
