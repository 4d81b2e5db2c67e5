"""The pool of connections, over real sockets."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from meshcore.aio import http_client
from meshcore.aio.http_client import HttpClient
from meshcore.aio.http_terms import Broken, NotConnected, NotTrusted
from meshcore.aio.testing import ByteServer, http_answer, wait_until
from tests.aio.far_server import KEEP, Far, body_of, get


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient({"User-Agent": "tests"}, connect_seconds=5.0)
    yield client
    await client.close()


# Requests


async def test_a_request_says_what_it_is(client: HttpClient) -> None:
    server = ByteServer(http_answer(b"", headers="X-A: 1\r\nX-a: 2\r\n"))

    async with server.serve() as url:
        answer = await client.request("POST", f"{url}/a b/ü?q=1", b"body", {"traceparent": "t"})
        await body_of(answer)

    (received,) = server.requests
    assert received.head.startswith("POST /a%20b/%C3%BC?q=1 HTTP/1.1\r\n")
    assert received.header("Host") == url.removeprefix("http://")
    assert (received.header("User-Agent"), received.header("traceparent")) == ("tests", "t")
    assert received.header("Accept-Encoding") == "identity"
    assert received.body == b"body"
    assert answer.headers.get("x-A") == "1"


async def test_a_header_of_several_lines_is_refused(client: HttpClient) -> None:
    with pytest.raises(ValueError, match="one line"):
        await client.request("GET", "http://127.0.0.1", headers={"X": "a\r\nY: b"})


async def test_where_nobody_listens_is_no_connection(client: HttpClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    with pytest.raises(NotConnected) as caught:
        await client.request("GET", f"http://127.0.0.1:{port}")

    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


@pytest.mark.parametrize("url", ["ftp://a/", "http:///a", "http://ex..ample/", "http://a:x/", "http://[::1/"])
async def test_what_is_no_address_is_no_connection(client: HttpClient, url: str) -> None:
    with pytest.raises(NotConnected, match="expected"):
        await client.request("GET", url)


async def test_a_name_that_no_resolver_takes_is_no_connection(client: HttpClient) -> None:
    with pytest.raises(NotConnected):
        await client.request("GET", "http://a\0b/")


# Connections


async def test_a_connection_is_used_again_behind_a_whole_answer(client: HttpClient) -> None:
    far = Far()

    async with far.serve() as url:
        for _ in range(3):
            assert await get(client, url) == b"ok"

    assert far.opened == 1


async def test_as_many_connections_are_opened_as_there_are_requests_at_once(client: HttpClient) -> None:
    far = Far()

    async with far.serve() as url:
        answers = [await client.request("GET", url) for _ in range(3)]
        for answer in answers:
            await body_of(answer)
            answer.release()

        assert (far.opened, client.idle) == (3, 3)


async def test_no_more_connections_than_allowed_are_open_at_once() -> None:
    client = HttpClient({}, connect_seconds=5.0, connections_max=1)
    far = Far()

    async with far.serve() as url:
        first = await client.request("GET", url)
        second = asyncio.create_task(client.request("GET", url))
        await asyncio.sleep(0)
        assert not second.done()
        await body_of(first)
        assert await body_of(await second) == b"ok"
        with pytest.raises(NotConnected):
            await client.request("GET", "http://127.0.0.1:1")
        assert await get(client, url) == b"ok"

    assert far.opened == 2  # the idle one made room for the one that couldn't be had
    await client.close()


async def test_what_was_idle_for_too_long_is_closed(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "IDLE_SECONDS", 0.05)
    far = Far()

    async with far.serve() as url:
        await get(client, url)
        await wait_until(lambda: far.closed == 1)
        assert client.idle == 0
        await get(client, url)
        await wait_until(lambda: far.closed == 2)


async def test_only_what_may_be_repeated_is_asked_again_when_an_idle_connection_breaks(
    client: HttpClient,
) -> None:
    answered: set[asyncio.StreamWriter] = set()

    async def once(writer: asyncio.StreamWriter) -> None:
        if writer in answered:
            raise ConnectionError
        answered.add(writer)
        writer.write(KEEP)

    far = Far(once)
    async with far.serve() as url:
        assert await get(client, url) == b"ok"
        assert await get(client, url) == b"ok"
        with pytest.raises(Broken):  # it was read, and perhaps done
            await client.request("POST", url)

    assert (len(far.heads), far.opened) == (4, 2)


@pytest.mark.parametrize("late", [http_answer(b"of another"), b""], ids=["answer", "end"])
async def test_what_an_idle_connection_brings_before_the_loop_sees_it_is_no_answer(
    client: HttpClient, late: bytes
) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        async def ask_and_answer(said: bytes) -> tuple[bytes, socket.socket]:
            asking = asyncio.create_task(client.request("POST", url))
            async with asyncio.timeout(5.0):
                far, _ = await loop.sock_accept(listener)
            await loop.sock_recv(far, 1 << 16)
            await loop.sock_sendall(far, http_answer(said))
            return await body_of(await asking), far

        _, first = await ask_and_answer(b"first")
        if late:
            first.send(late)
        else:
            first.shutdown(socket.SHUT_WR)
        said, second = await ask_and_answer(b"second")

        assert said == b"second"
        for far in (first, second):
            far.close()


async def test_idle_connections_to_one_server_make_room_for_those_to_another() -> None:
    client = HttpClient({}, connect_seconds=5.0, connections_max=2)
    near, far = Far(), Far()

    async with near.serve() as near_url, far.serve() as far_url:
        answers = [await client.request("GET", near_url) for _ in range(2)]
        for each in answers:
            await body_of(each)
        assert await get(client, far_url) == b"ok"
        await wait_until(lambda: near.closed == 1)

        assert len(client._open) == 2
    await client.close()


async def test_a_call_that_waits_while_its_pool_closes_is_not_made() -> None:
    client = HttpClient({}, connect_seconds=5.0, connections_max=1)
    far = Far()

    async with far.serve() as url:
        first = await client.request("GET", url)
        waiting = asyncio.create_task(client.request("GET", url))
        await asyncio.sleep(0)
        await client.close()
        first.release()
        with pytest.raises(NotConnected, match="closed"):
            await waiting

    assert len(far.heads) == 1


async def test_closing_closes_everything_and_may_be_repeated(client: HttpClient) -> None:
    far = Far()

    async with far.serve() as url:
        await get(client, url)
        used = await client.request("GET", url)
        await client.close()
        await client.close()
        await wait_until(lambda: far.closed == far.opened)
        used.release()

    assert client.idle == 0


@pytest.mark.parametrize("seed", range(20))
async def test_whenever_calls_are_given_up_no_place_is_lost_and_no_answer_is_anothers(seed: int) -> None:
    random = Random(seed)
    client = HttpClient({}, connect_seconds=5.0, connections_max=3)

    async def path_back(writer: asyncio.StreamWriter) -> None:
        said = far.heads[-1].split(" ")[1].encode()
        for piece in (http_answer(said)[:20], http_answer(said)[20:]):
            writer.write(piece)
            await asyncio.sleep(0)

    async def ask(url: str) -> None:
        answer = await client.request(random.choice(["GET", "POST"]), url)
        assert url.endswith((await body_of(answer)).decode())

    far = Far(path_back)
    async with far.serve() as url:
        asked = [asyncio.create_task(ask(f"{url}/{number}")) for number in range(40)]
        while not all(each.done() for each in asked):
            random.choice(asked).cancel()
            for _ in range(random.randrange(12)):
                await asyncio.sleep(0)
        ends = await asyncio.gather(*asked, return_exceptions=True)
        async with asyncio.timeout(10.0):
            answers = [await client.request("GET", f"{url}/last") for _ in range(3)]
        for each in answers:
            assert await body_of(each) == b"/last"

    assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)
    await client.close()
    await wait_until(lambda: not client._open)


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file with a key and its certificate for 127.0.0.1, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "far")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, SHA256())
    )
    file = tmp_path / "far.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + made.public_bytes(Encoding.PEM))
    return file


async def test_over_tls_only_who_is_trusted_is_asked(
    client: HttpClient, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    far = Far()

    async with far.serve(ssl=context) as url:
        with pytest.raises(NotTrusted):
            await get(client, url)
        trusting = ssl.create_default_context(cafile=certificate)
        monkeypatch.setattr(http_client, "_trust", lambda: trusting)
        for _ in range(2):
            assert await get(client, url) == b"ok"

    assert len(far.heads) == 2
    assert client.idle == 1
