"""A run as its viewers get it from the dashboard, wherever its log is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from dashboard import runtime
from dashboard.edge import event_stream, streams, viewing
from dashboard.edge.event_stream import Places
from dashboard.models import AuditEntry, Run, Scope, Token
from dashboard.runtime import Runtime
from dashboard.services import audit_refusals, changes, nodes, tokens
from dashboard.services.actor import SYSTEM
from meshcore.clock import utcnow
from meshcore.link import CloseCode
from meshcore.stream_frames import STREAM_CREDIT, Stream, StreamEndReason
from tests.dashboard.edge.watched import (
    NOW,
    RUN,
    SECONDS,
    LogNode,
    Viewer,
    bearer,
    chunks,
    end,
    event,
    watching,
)

pytestmark = pytest.mark.django_db(transaction=True)

API = f"/api/v1/runs/{RUN}/stream"
PAGE = f"/runs/{RUN}/stream"
Watch = Callable[..., Viewer]
NewNode = Callable[..., Awaitable[LogNode]]


@pytest.fixture
def reader(db: None) -> tuple[bytes, bytes]:
    """The header of a program that may read."""
    return bearer(tokens.issue(name="ci", scopes=[Scope.READ], actor=SYSTEM)[1])


@pytest.fixture
async def rt() -> AsyncIterator[Runtime]:
    async with runtime.running(jobs=()) as running:
        yield running


@pytest.fixture
async def new_node(rt: Runtime) -> AsyncIterator[NewNode]:
    """Adds a node and connects it."""
    started: list[LogNode] = []

    async def new(name: str, **more: Any) -> LogNode:
        _, secret = await rt.in_control(nodes.add, name=name, actor=SYSTEM, now=NOW)
        started.append(LogNode(name, secret, **more))
        return await started[-1].connect()

    yield new
    for each in started:
        await each.die()


@pytest.fixture
async def watch(rt: Runtime) -> AsyncIterator[Watch]:
    async with watching() as start:
        yield start


def known(status: str = "running") -> None:
    Run.objects.create(run_id=RUN, status=status, first_heard_at=NOW, heard_at=NOW)


def cookie(user: User) -> tuple[bytes, bytes]:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    value = client.cookies[settings.SESSION_COOKIE_NAME].value
    return (b"cookie", f"{settings.SESSION_COOKIE_NAME}={value}".encode())


async def test_a_viewer_gets_what_is_there_then_what_comes_then_the_end(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    await node.add(event(2, "epoch", epoch=1, reason="started", node="node-a"), *chunks(3, 5))

    viewer = await watch(API, reader).until(lambda v: v.text == "w3 w4 w5 ")
    await node.add(*chunks(6, 9), end(10))
    await viewer.finish()

    assert viewer.status == 200
    assert viewer.headers[b"content-type"] == b"text/event-stream"
    assert viewer.headers[b"cache-control"] == b"no-store"
    assert viewer.body.startswith(b": attached\n\nid: 2\nevent: epoch\ndata: {")
    assert [seq for seq, _, _ in viewer.events] == list(range(2, 11))
    assert viewer.events[-1][1:] == (
        "end",
        {"status": "completed", "reason": "stop", "final_seq": 10, "usage": None},
    )


@pytest.mark.parametrize(
    ("path", "header"),
    [(f"{API}?starting_after=4", ()), (API, (b"last-event-id", b"4"))],
)
async def test_a_viewer_that_comes_back_gets_what_it_lacks(
    new_node: NewNode, watch: Watch, reader: Any, path: str, header: Any
) -> None:
    node = await new_node("node-a")
    await node.add(*chunks(3, 6), end(7))

    viewer = await watch(path, reader, *([header] if header else [])).finish()

    assert [seq for seq, _, _ in viewer.events] == [5, 6, 7]
    assert node.asked[0].after == 4


async def test_the_whole_history_is_asked_for_as_such(new_node: NewNode, watch: Watch, reader: Any) -> None:
    node = await new_node("node-a")
    await node.add(end(2))

    await watch(f"{API}?history=all", reader).finish()

    assert (node.asked[0].history, node.asked[0].after) == (True, None)


async def test_when_a_node_dies_the_next_goes_on_without_a_gap_on_the_open_connection(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    first, second = await new_node("node-a"), await new_node("node-b")
    for node in (first, second):
        await node.add(*chunks(3, 6))
    viewer = await watch(API, reader).until(lambda v: v.text == "w3 w4 w5 w6 ")

    await first.die()
    await second.add(*chunks(7, 8), end(9))
    await viewer.finish()

    assert [seq for seq, _, _ in viewer.events] == list(range(3, 10))
    assert [each.after for each in second.asked] == [6]


async def test_while_there_is_nobody_to_ask_a_viewer_of_a_known_run_waits_and_is_told(
    rt: Runtime, new_node: NewNode, watch: Watch, reader: Any
) -> None:
    await rt.in_control(known)
    viewer = await watch(API, reader).until(lambda v: b": waiting for a node of this log\n\n" in v.body)
    assert viewer.status == 200

    node = await new_node("node-a")
    await node.add(*chunks(3, 3), end(4))

    assert (await viewer.finish()).text == "w3 "


async def test_a_node_that_says_nothing_is_passed_over(
    new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewing, "ANSWER_SECONDS", 0.3)
    deaf, good = await new_node("node-a"), await new_node("node-b")
    deaf.mute = True
    await good.add(*chunks(3, 3), end(4))

    viewer = await watch(API, reader).finish()

    assert viewer.text == "w3 "
    assert deaf.asked


@pytest.mark.parametrize(
    "reason", [StreamEndReason.ENGINE_GONE, StreamEndReason.TOO_MANY, StreamEndReason.LOG_UNREACHABLE]
)
async def test_a_node_that_cannot_is_passed_over(
    new_node: NewNode, watch: Watch, reader: Any, reason: StreamEndReason
) -> None:
    broken, good = await new_node("node-a"), await new_node("node-b")
    broken.refuses = reason
    await good.add(end(2))

    assert (await watch(API, reader).finish()).events[-1][1] == "end"
    assert broken.asked


async def test_a_run_that_its_log_does_not_have_is_not_found(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    node.events.clear()

    viewer = await watch(API, reader).finish()

    assert viewer.status == HTTPStatus.NOT_FOUND
    assert viewer.headers[b"content-type"] == b"application/problem+json"
    assert f'"instance": "{API}"'.encode() in viewer.body


async def test_a_run_of_a_log_that_nobody_knows_is_not_found(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    await new_node("node-a")

    for run in (f"run_zzzzzz_{'0' * 32}", "run_", "x", "%2e%2e"):
        assert (await watch(f"/api/v1/runs/{run}/stream", reader).finish()).status == HTTPStatus.NOT_FOUND


async def test_a_run_that_may_be_in_a_log_which_is_away_is_unavailable(
    new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "OPEN_SECONDS", 0.1)
    await (await new_node("node-a")).die()

    viewer = await watch(API, reader).finish()

    assert viewer.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert viewer.headers[b"retry-after"] == b"5"


async def test_a_viewer_that_reads_nothing_holds_up_its_stream_and_no_other(
    rt: Runtime, new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    await node.add(*chunks(3, 60), end(61))
    slow = Viewer(API, reader)
    slow.reads.clear()
    slow.start()
    await slow.until(lambda v: v.status == 200)

    fast = await watch(API, reader).finish()

    assert [seq for seq, _, _ in fast.events] == list(range(3, 62))
    sent = next(sent for _, sent in node.open.values())
    assert sent <= 2 + 2 * STREAM_CREDIT  # what it may have in hand, and as much on the way
    slow.reads.set()
    assert (await slow.finish()).events == fast.events
    await slow.leave()


async def test_a_client_that_takes_nothing_for_long_is_left(
    new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "STUCK_SECONDS", 0.05)
    node = await new_node("node-a")
    await node.add(*chunks(3, 60))
    stuck = Viewer(API, reader)
    stuck.reads.clear()

    await stuck.start().finish()
    await stuck.leave()

    assert not node.open


async def test_a_viewer_that_leaves_frees_its_place_and_the_node_hears_of_it(
    rt: Runtime, new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    await node.add(*chunks(3, 4))
    viewer = await watch(API, reader).until(lambda v: v.text == "w3 w4 ")
    assert (streams._places.taken, rt.gauges["run_streams"]()) == (1, 1)

    await viewer.leave()

    assert (streams._places.taken, rt.gauges["run_streams"]()) == (0, 0)
    async with asyncio.timeout(SECONDS):
        while not node.ended:  # noqa: ASYNC110 - the far side's state has no event
            await asyncio.sleep(0.01)


async def test_one_viewer_too_many_is_told_so(
    new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_places", Places(2))
    node = await new_node("node-a")
    await node.add(*chunks(3, 3))
    for _ in range(2):
        await watch(API, reader).until(lambda v: v.text == "w3 ")

    third = await watch(API, reader).finish()

    assert third.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert b"2 watch here already" in third.body
    assert streams.VIEWERS_MAX == 256


async def test_an_answer_ends_at_its_bound_and_the_client_goes_on_from_there(
    new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "RESPONSE_MAX_BYTES", 1_000)
    node = await new_node("node-a")
    await node.add(*chunks(3, 60), end(61))
    found: list[tuple[int, str, Any]] = []

    while not found or found[-1][1] != "end":
        last = (b"last-event-id", str(found[-1][0] if found else 0).encode())
        viewer = await watch(API, reader, last).finish()
        assert len(viewer.body) <= 1_000
        found += viewer.events

    assert [seq for seq, _, _ in found] == list(range(3, 62))


async def test_silence_is_a_comment_and_never_an_end(
    new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewing, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(streams, "COMMENT_SECONDS", 0.02)
    await new_node("node-a")

    viewer = await watch(API, reader).until(lambda v: v.body.count(b": \n\n") >= 3)

    assert not viewer.over


async def test_a_node_that_floods_beyond_its_credit_is_cut_off_and_the_viewer_goes_on(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    bad = await new_node("node-a")
    viewer = Viewer(API, reader)
    viewer.reads.clear()
    await viewer.start().until(lambda v: v.status == 200)
    stream = bad.asked[0].stream

    await bad.flood(*(Stream(id=stream, after=0, to=0) for _ in range(2 * STREAM_CREDIT + 1)))
    async with asyncio.timeout(SECONDS):
        while bad.closed is None:  # noqa: ASYNC110 - the far side's state has no event
            await asyncio.sleep(0.01)
    good = await new_node("node-b")
    await good.add(*chunks(3, 3), end(4))
    viewer.reads.set()

    assert bad.closed == (CloseCode.PROTOCOL_ERROR, "a piece of a stream beyond its credit")
    assert (await viewer.finish()).text == "w3 "
    await viewer.leave()


async def test_pieces_of_streams_that_nobody_asked_for_are_nothing(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    await node.flood(*(Stream(id=f"x{n}", after=0, to=1) for n in range(100)))
    await node.add(*chunks(3, 3), end(4))

    assert (await watch(API, reader).finish()).text == "w3 "


# Who may.


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


async def test_only_get(rt: Runtime, watch: Watch, reader: Any) -> None:
    viewer = await watch(API, reader, method="POST").finish()

    assert (viewer.status, viewer.headers[b"allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, b"GET")
