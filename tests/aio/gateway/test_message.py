"""Heads and bodies of requests, without a connection."""

import asyncio

import pytest

from meshcore.aio.gateway.message import AHEAD_MAX_BYTES, Body, BodyBroken, BodyTooLarge
from meshcore.aio.http_fields import Headers
from tests.aio.gateway.wire import request_for


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        ("/v1/models", "a:1", "/v1/models"),
        ("/v1/models?limit=1", "a:1", "/v1/models"),
        ("/v1/models/a%2Fb%ff?c", "a:1", "/v1/models/a/b\ufffd"),
        ("http://b:2/healthz?x", "b:2", "/healthz"),
        ("*", "a:1", "*"),
        ("//c/d", "a:1", "//c/d"),
    ],
)
def test_a_target_has_a_path_and_perhaps_a_host_that_overrules_the_header(
    target: str, host: str, path: str
) -> None:
    request = request_for(target, headers=Headers({b"host": b"a:1"}))

    assert (request.host, request.path) == (host, path)


def test_who_names_no_host_has_none() -> None:
    assert request_for("/").host is None


def test_a_target_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="IPv6"):
        request_for("http://[::1/")


# Bodies


@pytest.fixture
def wanted() -> list[None]:
    return []


@pytest.fixture
def body(wanted: list[None]) -> Body:
    return Body(lambda: wanted.append(None))


async def test_a_body_that_is_there_is_read_without_waiting(body: Body, wanted: list[None]) -> None:
    for piece in (b"a", b"b"):
        body.feed(piece)
    body.end()

    assert await body.read(2) == b"ab"
    assert wanted == []


async def test_a_body_that_comes_is_asked_for_and_waited_for(body: Body, wanted: list[None]) -> None:
    body.feed(b"a")
    reading = asyncio.create_task(body.read(3))
    await asyncio.sleep(0)
    body.feed(b"bc")
    body.end()

    assert await reading == b"abc"
    assert len(wanted) == 1


async def test_too_much_of_a_body_is_an_error_before_its_end_and_is_not_kept(body: Body) -> None:
    reading = asyncio.create_task(body.read(3))
    await asyncio.sleep(0)
    for _ in range(3):
        body.feed(b"ab")

    with pytest.raises(BodyTooLarge):
        await reading


async def test_too_much_that_is_there_already_is_an_error(body: Body) -> None:
    body.feed(b"abcd")

    with pytest.raises(BodyTooLarge):
        await body.read(3)


async def test_a_body_that_breaks_is_an_error_whenever_it_is_read(body: Body) -> None:
    reading = asyncio.create_task(body.read(3))
    await asyncio.sleep(0)
    body.fail()

    with pytest.raises(BodyBroken):
        await reading
    with pytest.raises(BodyBroken):
        await body.read(3)


async def test_what_happens_behind_its_end_is_not_a_bodys_business(body: Body) -> None:
    body.end()
    body.fail()

    assert await body.read(0) == b""


async def test_only_so_much_is_taken_before_somebody_reads(body: Body) -> None:
    body.feed(bytes(AHEAD_MAX_BYTES))
    enough = body.is_ahead
    body.feed(b"x")
    too_much = body.is_ahead
    reading = asyncio.create_task(body.read(1 << 20))
    await asyncio.sleep(0)

    assert (enough, too_much, body.is_ahead) == (False, True, False)
    reading.cancel()
