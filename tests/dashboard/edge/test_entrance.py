"""Who may open a stream, and for how long."""

from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth.models import User

from dashboard.models import AuditEntry, Scope, Token
from dashboard.runtime import Runtime
from dashboard.services import audit_refusals, changes, tokens
from dashboard.services.actor import SYSTEM
from meshcore.clock import utcnow
from tests.dashboard.edge.watched import (
    API,
    PAGE,
    NewNode,
    Viewer,
    Watch,
    bearer,
    chunks,
    cookie,
    end,
)

pytestmark = pytest.mark.django_db(transaction=True)


async def test_only_a_token_that_reads_opens_the_api_and_only_a_session_the_page(
    rt: Runtime, new_node: NewNode, watch: Watch, reader: Any, bob: User, charlie: User
) -> None:
    node = await new_node("node-a")
    await node.add(*chunks(3, 3), end(4))
    cookies = [await rt.in_control(cookie, person) for person in (bob, charlie)]
    _, drains = await rt.in_control(tokens.issue, name="d", scopes=[Scope.NODES_DRAIN], actor=SYSTEM)

    found = [
        (await watch(path, *headers).finish()).status
        for path, headers in [
            (API, [reader]),
            (PAGE, [cookies[0]]),
            (API, [cookies[0]]),
            (PAGE, [reader]),
            (API, []),
            (API, [bearer("msh_aaaaaaaa_" + "x" * 43)]),
            (PAGE, []),
            (API, [bearer(drains)]),
            (PAGE, [cookies[1]]),
        ]
    ]

    assert found == [200, 200, 401, 401, 401, 401, 401, 403, 403]
    assert await rt.in_control(lambda: audit_refusals.flush_all(now=utcnow())) > 0
    targets = await rt.in_control(lambda: set(AuditEntry.objects.values_list("target", flat=True)))
    assert {"GET api/v1/runs/<run>/stream", "GET runs/<run>/stream"} <= targets


async def test_a_page_is_served_under_our_names_alone(rt: Runtime, watch: Watch, bob: User) -> None:
    viewer = Viewer(PAGE, await rt.in_control(cookie, bob))
    viewer.scope["headers"] = [(b"host", b"evil.example"), *viewer.scope["headers"][1:]]  # type: ignore[index]

    assert (await viewer.start().finish()).status == HTTPStatus.BAD_REQUEST
    await viewer.leave()


async def test_a_token_that_is_revoked_ends_its_stream(rt: Runtime, new_node: NewNode, watch: Watch) -> None:
    token, secret = await rt.in_control(tokens.issue, name="ci", scopes=[Scope.READ], actor=SYSTEM)
    node = await new_node("node-a")
    await node.add(*chunks(3, 3))
    viewer = await watch(API, bearer(secret)).until(lambda v: v.text == "w3 ")

    await rt.in_control(
        tokens.revoke, token=await rt.in_control(Token.objects.get, pk=token.pk), actor=SYSTEM
    )
    await viewer.finish()

    assert viewer.events[-1][1] == "chunk"


async def test_somebody_who_signs_out_loses_the_stream(
    rt: Runtime, new_node: NewNode, watch: Watch, bob: User
) -> None:
    node = await new_node("node-a")
    await node.add(*chunks(3, 3))
    viewer = await watch(PAGE, await rt.in_control(cookie, bob)).until(lambda v: v.text == "w3 ")

    await rt.in_control(deactivate, bob)

    await viewer.finish()


def deactivate(person: User) -> None:
    person.is_active = False
    person.save()
    changes.publish("people", now=utcnow())


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("starting_after=x", "starting_after"),
        ("history=some", "history"),
        ("token=secret", "token"),
        ("starting_after=1&secret=", "secret"),
    ],
)
async def test_what_is_not_allowed_in_the_address_is_named(
    rt: Runtime, watch: Watch, reader: Any, query: str, named: str
) -> None:
    viewer = await watch(f"{API}?{query}", reader).finish()

    assert viewer.status == HTTPStatus.BAD_REQUEST
    assert f'"field": "{named}"'.encode() in viewer.body
