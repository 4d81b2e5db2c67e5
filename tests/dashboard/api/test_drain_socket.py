"""Bodies as they come over a real socket: a chunked cancel must never drain."""

import http.client
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.served import Served, environment, manage, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
PATH = "/api/v1/nodes/node-a/drain"


@pytest.fixture(scope="module")
def served(migrated_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with node-a."""
    var = shutil.copytree(migrated_state, tmp_path_factory.mktemp("served") / "var")
    done = manage("add_node", "node-a", env=environment(var))
    assert done.returncode == 0, done.stderr
    with serving(var) as running:
        yield running


@pytest.fixture(scope="module")
def token(served: Served) -> str:
    """A token that drains."""
    done = manage("add_token", "ci", "--scope", "nodes:drain", env=environment(served.var))
    return done.stdout.split()[-1]


def post(served: Served, token: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    """Send `body` with POST."""
    return send(served, token, "POST", PATH, body, **headers)


def send(
    served: Served, token: str, method: str, path: str, body: Any, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Send `body`: bytes with a Content-Length, an iterator chunked, None with neither."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    chunked = isinstance(body, Iterator)
    all_headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
    if chunked:
        all_headers["Transfer-Encoding"] = "chunked"
    connection.request(method, path, body=body, headers=all_headers, encode_chunked=chunked)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_a_cancel_cancels_with_a_length_and_chunked(served: Served, token: str) -> None:
    for body in (b'{"action": "cancel"}', iter([b'{"action": ', b'"cancel"}'])):
        status, told = post(served, token, b"")
        assert (status, told["action"], told["drain"] is None) == (202, "drain", False)

        status, told = post(served, token, body)

        assert (status, told["action"], told["was_draining"]) == (202, "cancel", True)
        assert told["drain"] is None


def test_an_empty_chunked_body_is_no_body(served: Served, token: str) -> None:
    status, told = post(served, token, iter([]))

    assert (status, told["action"]) == (202, "drain")
    post(served, token, b'{"action": "cancel"}')


def test_no_length_and_no_body_is_no_body(served: Served, token: str) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
        client.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: client.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 202")
    post(served, token, b'{"action": "cancel"}')


def test_chunked_nonsense_is_refused_and_changes_nothing(served: Served, token: str) -> None:
    before = post(served, token, b'{"action": "cancel"}')[1]["generation"]

    for pieces in ([b"{"], [b'{"action": "explode"}'], [b"null"]):
        assert post(served, token, iter(pieces))[0] == 400
    assert post(served, token, iter([b" " * 40_000, b" " * 40_000]))[0] == 413
    assert post(served, token, iter([b"{}"]), **{"Content-Type": "text/plain"})[0] == 415

    assert post(served, token, b'{"action": "cancel"}')[1]["generation"] == before


def test_a_wrong_token_is_401_over_the_wire(served: Served) -> None:
    status, told = post(served, "msh_aaaaaaaa_" + "a" * 43, b"")

    assert (status, told["detail"]) == (401, "The token is unknown.")


def test_put_is_read_with_a_length_and_chunked(served: Served, token: str) -> None:
    for number, body in enumerate((b'{"reason": "0"}', iter([b'{"rea', b'son": "1"}']))):
        status, told = send(served, token, "PUT", PATH, body)

        assert (status, told["drain"]["reason"]) == (202, str(number))
    post(served, token, b'{"action": "cancel"}')


def test_put_without_a_body_drains(served: Served, token: str) -> None:
    for body in (None, b"", iter([])):
        assert send(served, token, "PUT", PATH, body)[1]["changed"] is True
        post(served, token, b'{"action": "cancel"}')


def test_chunked_nonsense_by_put_is_refused_and_drains_nothing(served: Served, token: str) -> None:
    for pieces in ([b"[", b"]"], [b'{"action": "cancel"}'], [b'{"reason": 7', b"}"]):
        assert send(served, token, "PUT", PATH, iter(pieces))[0] == 400
    assert send(served, token, "PUT", PATH, iter([b" " * 40_000, b" " * 40_000]))[0] == 413

    assert post(served, token, b'{"action": "cancel"}')[1]["was_draining"] is False


def test_delete_gives_back_and_takes_no_body_however_it_comes(served: Served, token: str) -> None:
    send(served, token, "PUT", PATH, b"{}")

    for body in (b'{"reason": "x"}', iter([b"{}"])):
        assert send(served, token, "DELETE", PATH, body)[0] == 400
    status, told = send(served, token, "DELETE", f"{PATH}?reason=done", None)

    assert (status, told["was_draining"]) == (202, True)
    for body in (b"", iter([])):
        assert send(served, token, "DELETE", PATH, body)[0] == 200


def test_a_precondition_comes_over_the_wire(served: Served, token: str) -> None:
    generation = post(served, token, b'{"action": "cancel"}')[1]["generation"]

    late = send(served, token, "PUT", PATH, b"{}", **{"If-Match": f'"{generation + 7}"'})
    right = send(served, token, "PUT", PATH, b"{}", **{"If-Match": f'"{generation}"'})

    assert (late[0], late[1]["current_generation"], right[0]) == (412, generation, 202)
    post(served, token, b'{"action": "cancel"}')


@pytest.mark.parametrize(
    "request_line", [b"nonsense", b"GET /api/v1/nodes", b"PUT /api/v1/nodes/\xff/drain HTTP/1.1"]
)
def test_a_request_line_that_is_none_is_400_as_a_problem(served: Served, request_line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
        client.sendall(request_line + b"\r\nHost: 127.0.0.1\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["title"] == "Bad Request"
