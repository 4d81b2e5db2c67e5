"""Requests of strangers, over real sockets: every bound has a clear answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from meshcore.aio.gateway import ClientLimits, requests
from meshcore.aio.providers import EchoProvider

LIMITS = ClientLimits(max_body_bytes=1000)
PATH = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
CHAT = b'{"model":"echo-1","messages":[{"role":"user","content":"hi"}]}'


@pytest.fixture
async def node(start_node: Any) -> Any:
    return await start_node("node-a", EchoProvider("echo"), limits=LIMITS)


@pytest.fixture
def talk(node: Any) -> Callable[..., Any]:
    async def talk(*pieces: bytes) -> bytes:
        """Send bytes as they are; return everything that comes until the server hangs up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(node.url.rpartition(":")[2]))
        writer.writelines(pieces)
        try:
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    return talk


def head(*lines: str) -> bytes:
    start = (
        f"POST {PATH} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: close",
        "Content-Type: application/json",
    )
    return "\r\n".join((*start, *lines, "", "")).encode()


async def test_a_body_of_exactly_the_bound_is_served_and_one_byte_more_is_413(
    node: Any, http: aiohttp.ClientSession
) -> None:
    async with http.post(node.url + PATH, data=CHAT.ljust(1000), headers=JSON) as served:
        assert served.status == 200
    async with http.post(node.url + PATH, data=CHAT.ljust(1001), headers=JSON) as refused:
        error = (await refused.json())["error"]

    assert refused.status == 413
    assert (error["code"], error["message"]) == ("too_large", "body: expected at most 1000 bytes")


async def test_a_body_that_announces_too_much_is_refused_before_it_is_sent(
    talk: Callable[..., Any],
) -> None:
    answer = await talk(head("Content-Length: 1000000000"))

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_never_ends_is_refused_at_the_bound(node: Any, http: aiohttp.ClientSession) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b"x" * 1000

    answer = await http.post(node.url + PATH, data=endless(), headers=JSON)

    assert answer.status == 413


async def test_a_chunked_body_is_read_like_any_other(node: Any, http: aiohttp.ClientSession) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield CHAT[:20]
        yield CHAT[20:]

    async with http.post(node.url + PATH, data=pieces(), headers=JSON) as answer:
        assert answer.status == 200


async def test_a_body_that_takes_too_long_is_408(
    talk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.05)

    answer = await talk(head("Content-Length: 100"), b"{")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request timeout" in answer


async def test_a_body_whose_encoding_is_broken_is_400(talk: Callable[..., Any]) -> None:
    answer = await talk(head("Content-Length: 5", "Content-Encoding: gzip"), b"hello")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"body: expected the encoding" in answer


async def test_a_small_body_that_unpacks_to_a_big_one_is_413(node: Any, http: aiohttp.ClientSession) -> None:
    async with http.post(node.url + PATH, data=b" " * 1_000_000, headers=JSON, compress="gzip") as answer:
        assert answer.status == 413


async def test_json_may_be_named_by_any_of_its_types(node: Any, http: aiohttp.ClientSession) -> None:
    types = ["application/json; charset=utf-8", "application/vnd.api+json"]

    for kind in types:
        async with http.post(node.url + PATH, data=CHAT, headers={"Content-Type": kind}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8101", "here:port", "127.0.0.1.evil.example"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/health", PATH])
async def test_a_node_without_keys_answers_no_foreign_name(
    node: Any, http: aiohttp.ClientSession, path: str, host: str
) -> None:
    method, body = ("POST", CHAT) if path == PATH else ("GET", None)

    async with http.request(method, node.url + path, data=body, headers={**JSON, "Host": host}) as refused:
        error = (await refused.json())["error"]

    assert (refused.status, error["code"], error["param"]) == (403, "foreign_host", "Host")


@pytest.mark.parametrize("host", ["localhost", "localhost:8101", "[::1]:8101", "127.0.0.2"])
async def test_every_name_of_this_machine_is_answered(
    node: Any, http: aiohttp.ClientSession, host: str
) -> None:
    async with http.get(f"{node.url}/v1/models", headers={"Host": host}) as served:
        assert served.status == 200


async def test_with_a_key_the_name_does_not_matter(start_node: Any, http: aiohttp.ClientSession) -> None:
    node = await start_node("node-k", EchoProvider("echo"), api_keys=("sk-1",))
    headers = {"Host": "mesh.example", "Authorization": "Bearer sk-1"}

    async with http.get(f"{node.url}/v1/models", headers=headers) as served:
        assert served.status == 200


async def test_a_foreign_name_reads_no_metrics(node: Any, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{node.url}/metrics", headers={"Host": "evil.example"}) as refused:
        assert refused.status == 403
