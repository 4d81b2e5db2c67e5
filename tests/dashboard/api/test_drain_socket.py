"""Bodies as they come over a real socket: a chunked cancel must never drain."""

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.dashboard.served import Served, environment, manage, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
PATH = "/api/v1/nodes/node-a/drain"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with node-a."""
    var = tmp_path_factory.mktemp("var")
    for command in (["migrate", "--verbosity=0"], ["add_node", "node-a"]):
        done = manage(*command, env=environment(var))
        assert done.returncode == 0, done.stderr
    with serving(var) as running:
        yield running


@pytest.fixture(scope="module")
def token(served: Served) -> str:
    """A token that drains."""
    done = manage("add_token", "ci", "--scope", "nodes:drain", env=environment(served.var))
    return done.stdout.split()[-1]


def post(served: Served, token: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    """Send `body`: bytes with a Content-Length, an iterator chunked."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    chunked = isinstance(body, Iterator)
    all_headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
    if chunked:
        all_headers["Transfer-Encoding"] = "chunked"
    connection.request("POST", PATH, body=body, headers=all_headers, encode_chunked=chunked)
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
