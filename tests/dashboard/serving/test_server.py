"""The server as its clients meet it: a real process, real sockets."""

import http.client
import itertools
import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_websocket

from tests.dashboard.served import ROOT, Served, serving

MIB = 1024 * 1024
MAY_GROW_MIB = 8.0  # what a process's memory moves by itself; the bodies sent below are far larger

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def connect(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=30)


def ask(served: Served, method: str, path: str, **request: object) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request(method, path, **request)  # type: ignore[arg-type]
    response = connection.getresponse()
    answer = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return answer


def read_to_the_end(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


def chunks(size: int) -> Iterator[bytes]:
    """A chunked body that never ends."""
    chunk = b"%x\r\n%s\r\n" % (size, b"x" * size)
    return itertools.repeat(chunk)


def send_until_cut_off(
    client: socket.socket, pieces: Iterator[bytes], *, at_most_mib: int
) -> tuple[int, bytes]:
    """Send `pieces` and listen meanwhile; returns how much was sent, and the answer."""
    client.settimeout(0.001)
    sent, answer = 0, b""
    while sent < at_most_mib * MIB and b"\r\n\r\n" not in answer:
        sent += client.send(next(pieces))
        try:
            answer += client.recv(65536)
        except TimeoutError:
            continue
    return sent, answer


def test_pages_static_files_and_health_are_served(served: Served) -> None:
    status, headers, body = ask(served, "GET", "/static/django_htmx/htmx-2.min.js")
    assert (status, headers["Content-Type"]) == (200, 'text/javascript; charset="utf-8"')
    assert len(body) > 10_000

    status, headers, _ = ask(served, "GET", "/admin/login/")
    assert status == 200
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["Server"] == "meshboard"

    assert ask(served, "GET", "/healthz")[0] == 200


def test_a_client_does_not_say_where_our_links_begin(served: Served) -> None:
    _, headers, _ = ask(served, "GET", "/audit/", headers={"Daphne-Root-Path": "/evil"})

    assert headers["Location"] == "/login/?next=/audit/"


def test_a_body_that_is_announced_too_large_is_refused_while_nothing_of_it_came(served: Served) -> None:
    with connect(served) as client:
        client.sendall(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n")

        answer = read_to_the_end(client)

    assert answer.startswith(b"HTTP/1.1 413 ")
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert problem["detail"] == "the body of a request may have at most 1048576 bytes"


def test_a_client_that_sends_it_all_first_still_gets_the_answer(served: Served) -> None:
    status, headers, body = ask(served, "POST", "/x", body=b"x" * (20 * MIB))

    assert status == 413
    assert headers["Content-Type"] == "application/problem+json"
    assert json.loads(body)["status"] == 413


def test_a_body_that_never_ends_is_refused_early_and_memory_stays_flat(served: Served) -> None:
    ask(served, "POST", "/x", body=b"x" * 1000)
    before_mib = served.resident_mib

    with connect(served) as client:
        client.sendall(b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent, answer = send_until_cut_off(client, chunks(64 * 1024), at_most_mib=200)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert sent < 50 * MIB

        client.settimeout(30)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # it isn't listened to for ever
            for piece in chunks(64 * 1024):
                client.sendall(piece)
                assert served.resident_mib < before_mib + MAY_GROW_MIB


def test_many_half_sent_bodies_cost_no_memory(served: Served) -> None:
    before_mib = served.resident_mib
    clients = [connect(served) for _ in range(50)]

    for client in clients:
        client.sendall(
            b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 900_000
        )
    assert ask(served, "GET", "/healthz")[0] == 200

    assert served.resident_mib < before_mib + MAY_GROW_MIB
    for client in clients:
        client.close()


def test_a_websocket_that_nobody_serves_is_refused(served: Served) -> None:
    status, _, _ = ask(served, "GET", "/nobody", headers=upgrade(served))

    assert status == 403


def upgrade(served: Served) -> dict[str, str]:
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Origin": served.url,
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_time_with_a_half_sent_request_and_an_idle_connection(
    migrated: Path, number: signal.Signals
) -> None:
    with serving(migrated) as served, connect(served) as half_sent, connect(served) as idle:
        half_sent.sendall(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        asked_at = time.monotonic()

        served.process.send_signal(number)

        assert served.process.wait(10) == 0
        assert time.monotonic() - asked_at < 5.0
        assert half_sent.recv(100) == b""
        assert "Traceback" not in served.stderr


def open_page(served: Served, cookie: str) -> ClientConnection:
    url = f"ws://127.0.0.1:{served.port}/live?page=fleet"
    return connect_websocket(url, origin=served.url, additional_headers={"Cookie": cookie}, open_timeout=30)


def test_at_the_end_websockets_are_closed_with_1012_and_the_rest_in_time(
    migrated: Path, signed_in: str
) -> None:
    with serving(migrated) as served, connect(served) as half_sent, ExitStack() as stack:
        half_sent.sendall(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        pages = [stack.enter_context(open_page(served, signed_in)) for _ in range(5)]
        assert all('id="live-no"' in page.recv(timeout=30) for page in pages)

        assert served.stop() < 5.0

        assert served.process.returncode == 0
        for page in pages:
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    page.recv(timeout=10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert "Traceback" not in served.stderr


def test_a_page_that_does_not_answer_the_close_does_not_hold_up_the_end(
    migrated: Path, signed_in: str
) -> None:
    with serving(migrated) as served, connect(served) as deaf:
        head = {**upgrade(served), "Host": served.url.removeprefix("http://"), "Cookie": signed_in}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        deaf.sendall(f"GET /live?page=fleet HTTP/1.1\r\n{lines}\r\n".encode())
        assert deaf.recv(65536).startswith(b"HTTP/1.1 101 ")

        assert served.stop() < 5.0

        assert served.process.returncode == 0


def test_a_message_beyond_the_bound_closes_the_websocket(served: Served, signed_in: str) -> None:
    with open_page(served, signed_in) as page:
        page.recv(timeout=30)
        page.send("x" * (MIB + 1))

        with pytest.raises(ConnectionClosed) as closed:
            page.recv(timeout=30)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize("header", ["Origin: null", "Host: here:port"])
def test_a_handshake_that_makes_no_sense_is_refused_and_leaves_no_trace(served: Served, header: str) -> None:
    name, _, value = header.partition(": ")
    head = "".join(
        f"{key}: {told}\r\n" for key, told in {"Host": "here", **upgrade(served), name: value}.items()
    )
    with connect(served) as client:
        client.sendall(f"GET /live?page=fleet HTTP/1.1\r\n{head}\r\n".encode())

        assert client.recv(13) == b"HTTP/1.1 400 "
    assert ask(served, "GET", "/healthz")[0] == 200
    assert "Traceback" not in served.stderr


def test_a_code_that_servers_need_arrives(served: Served, signed_in: str) -> None:
    with open_page(served, signed_in) as page:
        page.recv(timeout=30)
        page.send("nonsense")

        with pytest.raises(ConnectionClosed) as closed:
            page.recv(timeout=30)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4400


def test_a_second_signal_changes_nothing(migrated: Path) -> None:
    with serving(migrated) as served:
        served.process.send_signal(signal.SIGINT)
        served.process.send_signal(signal.SIGTERM)

        assert served.process.wait(10) == 0
        assert "Traceback" not in served.stderr


HANGING = """
async def application(scope, receive, send):
    print("asked", flush=True)
    await asyncio.to_thread(time.sleep, 60)
"""
STREAMING = """
async def application(scope, receive, send):
    stream = asyncio.create_task(flow(send))
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.cancel()
    print("left", flush=True)

async def flow(send):
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(1, 1000):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        print(number, flush=True)
    await asyncio.Event().wait()
"""
SERVER = """
import asyncio, contextlib, logging, sys, time
logging.basicConfig()
from dashboard.secrets import MeshUrl
from dashboard.serving import listening
from dashboard.serving.server import MeshServer

here = MeshUrl.parse("http://127.0.0.1", allow_plain_http=False)
listener = listening.open_socket("127.0.0.1", 0, mesh_url=here)
port = listener.getsockname()[1]
MeshServer(
    application,
    listener=listener,
    lifetime=contextlib.AsyncExitStack,
    on_ready=lambda: print(port, flush=True),
).run()
"""


def test_a_thread_that_hangs_does_not_keep_the_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HANGING + SERVER]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        with socket.create_connection(("127.0.0.1", int(process.stdout.readline())), timeout=30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert process.stdout.readline() == "asked\n"
            asked_at = time.monotonic()

            process.terminate()

            assert process.wait(10) == 1
            assert time.monotonic() - asked_at < 5.0
            assert "leaving now" in process.stderr.read()


def test_an_answer_goes_out_no_faster_than_its_client_takes_it_and_ends_with_the_server() -> None:
    command = [sys.executable, "-c", STREAMING + SERVER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        with client:
            client.settimeout(30)
            client.connect(("127.0.0.1", int(process.stdout.readline())))
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            lines: queue.Queue[str] = queue.Queue()
            threading.Thread(target=lambda: [lines.put(line) for line in process.stdout or ()]).start()
            sent = until_quiet(lines)
            assert 0 < sent < 200  # of 999: what fits the kernel's buffers and one of the server's

            received = sum(len(client.recv(65536)) for _ in range(sent))
            assert received > 0
            assert until_quiet(lines) > sent

            process.terminate()

            assert process.wait(10) == 0
            assert "left\n" in iter(lambda: lines.get(timeout=10), "")


def until_quiet(lines: "queue.Queue[str]") -> int:
    """Return the last number that a process says before it says none for a second."""
    number = int(lines.get(timeout=30))
    with suppress(queue.Empty):
        while True:
            number = int(lines.get(timeout=1.0))
    return number
