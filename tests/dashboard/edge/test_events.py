"""The change feed as programs follow it: nothing is missed, and nobody hears of what they may not read."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest

from dashboard import runtime
from dashboard.edge import events as feed
from dashboard.edge.event_stream import Places
from dashboard.edge.events import may_read
from dashboard.models import Change, Scope, Token
from dashboard.runtime import Runtime
from dashboard.services import changes, tokens
from dashboard.services.actor import SYSTEM
from dashboard.services.rights import Right
from meshcore.clock import utcnow
from tests.dashboard.edge.watched import Viewer, bearer, watching

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/v1/events"
Watch = Callable[..., Viewer]


@pytest.fixture
def reader(db: None) -> tuple[bytes, bytes]:
    """The header of a program that may read."""
    return bearer(tokens.issue(name="ci", scopes=[Scope.READ], actor=SYSTEM)[1])


@pytest.fixture
async def rt(reader: Any) -> AsyncIterator[Runtime]:
    async with runtime.running(jobs=()) as running:
        yield running


@pytest.fixture
async def watch(rt: Runtime) -> AsyncIterator[Watch]:
    async with watching() as start:
        yield start


async def publish(rt: Runtime, *keys: str) -> None:
    await rt.in_control(lambda: changes.publish(*keys, now=utcnow()))


def keys(viewer: Viewer) -> list[str]:
    return [data.get("key", data["type"]) for _, _, data in viewer.events]


async def begun(viewer: Viewer) -> Viewer:
    return await viewer.until(lambda v: v.body.startswith(b": attached\n\n"))


async def test_changes_come_as_they_are_committed(rt: Runtime, watch: Watch, reader: Any) -> None:
    viewer = await begun(watch(PATH, reader))

    await publish(rt, "node:node-a", "nodes")
    await publish(rt, "drains")
    await viewer.until(lambda v: len(v.events) == 3)

    ids = [id_ for id_, _, _ in viewer.events]
    assert viewer.events[0] == (ids[0], "change", {"type": "change", "key": "node:node-a"})
    assert keys(viewer) == ["node:node-a", "nodes", "drains"]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("by_header", [True, False])
async def test_who_comes_back_gets_what_was_missed(
    rt: Runtime, watch: Watch, reader: Any, by_header: bool
) -> None:
    await publish(rt, "nodes", *(f"node:n{number}" for number in range(20)))
    since = (await rt.in_render(changes_behind, 0))[0]
    path, headers = (
        (PATH, [(b"last-event-id", str(since).encode())])
        if by_header
        else (f"{PATH}?starting_after={since}", [])
    )

    viewer = await watch(path, reader, *headers).until(lambda v: "node:n19" in keys(v))
    await publish(rt, "traces")
    await viewer.until(lambda v: keys(v)[-1] == "traces")

    found = [id_ for id_, _, _ in viewer.events]
    assert found == await rt.in_render(changes_behind, since)
    assert "resync" not in keys(viewer)


def changes_behind(since: int) -> list[int]:
    public = Change.objects.exclude(key__in=["audit", "tokens", "people"])
    return list(public.filter(id__gt=since).order_by("id").values_list("id", flat=True))


async def test_who_comes_back_too_late_is_told_to_read_everything(
    rt: Runtime, watch: Watch, reader: Any
) -> None:
    await publish(rt, "nodes", "drains", "traces")
    first = (await rt.in_render(changes_behind, 0))[0]
    await rt.in_control(lambda: Change.objects.update(at=utcnow() - timedelta(hours=2)))
    await publish(rt, "nodes")
    await rt.in_control(lambda: changes.trim(now=utcnow()))

    for since in (first, first + 1_000_000):
        viewer = await watch(f"{PATH}?starting_after={since}", reader).until(lambda v: bool(v.events))
        assert keys(viewer)[0] == "resync"
        assert viewer.events[0][0] >= rt.cursor - 1


async def test_nobody_hears_of_what_they_may_not_read(rt: Runtime, watch: Watch, reader: Any) -> None:
    _, auditor = await rt.in_control(
        tokens.issue, name="a", scopes=[Scope.READ, Scope.AUDIT_READ], actor=SYSTEM
    )
    _, owner = await rt.in_control(tokens.issue, name="o", scopes=[Scope.READ, Scope.ADMIN], actor=SYSTEM)
    viewers = [await begun(watch(PATH, header)) for header in (reader, bearer(auditor), bearer(owner))]

    await publish(rt, "audit", "tokens", "people", "something new", "nodes")
    for viewer in viewers:
        await viewer.until(lambda v: "nodes" in keys(v))

    assert keys(viewers[0]) == ["nodes"]
    assert keys(viewers[1]) == ["audit", "nodes"]
    assert keys(viewers[2]) == ["tokens", "people", "nodes"]


@pytest.mark.parametrize(
    "key", ["nodes", "node:a", "providers", "providers:a", "runs", "run:r", "runs:a", "traces", "drains"]
)
def test_whoever_reads_hears_of_what_all_see(key: str) -> None:
    assert may_read(key, frozenset({Right.READ}))
    assert not may_read(key, frozenset({Right.ADMIN}))


async def test_what_time_alone_has_changed_comes_without_an_id(
    rt: Runtime, watch: Watch, reader: Any
) -> None:
    viewer = await begun(watch(PATH, reader))

    rt.announce([0, 0], ["node:node-a", "heard"])
    await viewer.until(lambda v: bool(v.events))

    assert viewer.body.endswith(b'\n\nevent: change\ndata: {"type":"change","key":"node:node-a"}\n\n')


async def test_a_follower_that_reads_nothing_costs_a_bounded_queue_and_misses_nothing(
    rt: Runtime, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "QUEUED_MAX", 5)
    slow = await begun(watch(PATH, reader))
    slow.reads.clear()

    for number in range(30):
        await publish(rt, f"node:n{number}")
    last = (await rt.in_render(changes_behind, 0))[-1]
    async with asyncio.timeout(20):
        while rt.cursor < last:  # noqa: ASYNC110 - the reader of the feed has no event
            await asyncio.sleep(0.01)
    slow.reads.set()
    await slow.until(lambda v: "node:n29" in keys(v))

    assert keys(slow) == [f"node:n{number}" for number in range(30)]


async def test_what_changes_while_a_follower_comes_in_is_not_missed(
    rt: Runtime, watch: Watch, reader: Any
) -> None:
    slow = Viewer(PATH, reader)
    slow.reads.clear()
    await begun(slow.start())

    await publish(rt, "nodes")
    slow.reads.set()

    await slow.until(lambda v: keys(v) == ["nodes"])
    await slow.leave()


async def test_silence_is_a_comment(
    rt: Runtime, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "COMMENT_SECONDS", 0.02)

    viewer = await watch(PATH, reader).until(lambda v: v.body.count(b": \n\n") >= 2)

    assert viewer.body.startswith(b": attached\n\n")


async def test_who_may_not_read_is_refused_and_one_too_many_too(
    rt: Runtime, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_places", Places(1))
    _, drains = await rt.in_control(tokens.issue, name="d", scopes=[Scope.NODES_DRAIN], actor=SYSTEM)

    assert (await watch(PATH).finish()).status == HTTPStatus.UNAUTHORIZED
    assert (await watch(PATH, bearer(drains)).finish()).status == HTTPStatus.FORBIDDEN
    assert (await watch(PATH, reader, method="PUT").finish()).status == HTTPStatus.METHOD_NOT_ALLOWED
    assert (await watch(f"{PATH}?starting_after=1&starting_after=2", reader).finish()).status == 400
    await begun(watch(PATH, reader))
    assert (await watch(PATH, reader).finish()).status == HTTPStatus.SERVICE_UNAVAILABLE


async def test_a_token_that_is_revoked_follows_no_more(rt: Runtime, watch: Watch) -> None:
    token, secret = await rt.in_control(tokens.issue, name="x", scopes=[Scope.READ], actor=SYSTEM)
    viewer = await begun(watch(PATH, bearer(secret)))

    mine = await rt.in_control(Token.objects.get, pk=token.pk)
    await rt.in_control(tokens.revoke, token=mine, actor=SYSTEM)

    await viewer.finish()
