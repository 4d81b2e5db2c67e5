"""A port that is busy, or an address that isn't safe, is said in one sentence."""

import socket
from collections.abc import Iterator

import pytest

from dashboard.secrets import MeshUrl
from dashboard.serving.listening import CannotListen, adopt_socket, open_socket, url_of

HERE = MeshUrl.parse("http://127.0.0.1:8000", allow_plain_http=False)
SECURE = MeshUrl.parse("https://mesh.example", allow_plain_http=False)
PLAIN = MeshUrl.parse("http://mesh.example", allow_plain_http=True)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_a_free_port_is_listened_on_and_named() -> None:
    with open_socket("127.0.0.1", 0, mesh_url=HERE) as listener:
        port = listener.getsockname()[1]

        assert url_of(listener) == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port)).close()


def test_ipv6_is_listened_on_and_named() -> None:
    with open_socket("::1", 0, mesh_url=HERE) as listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_a_busy_port_is_named(listener: socket.socket) -> None:
    port = listener.getsockname()[1]

    with pytest.raises(
        CannotListen, match=rf"can't listen on 127\.0\.0\.1 port {port}: Address already in use$"
    ):
        open_socket("127.0.0.1", port, mesh_url=HERE)


@pytest.mark.parametrize(
    ("host", "port", "why"),
    [
        ("127.0.0.1", 65536, "port 65536: expected 0 to 65535"),
        ("192.0.2.1", 0, r"192\.0\.2\.1 port 0: Cannot assign requested address$"),
    ],
)
def test_what_is_no_address_is_named(host: str, port: int, why: str) -> None:
    with pytest.raises(CannotListen, match=why):
        open_socket(host, port, mesh_url=SECURE)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "mesh.example"])
def test_an_address_for_all_needs_a_url_for_all(host: str) -> None:
    with pytest.raises(CannotListen, match=r"MESH_URL=http://127\.0\.0\.1:8000 is for this machine alone"):
        open_socket(host, 0, mesh_url=HERE)


@pytest.mark.parametrize("mesh_url", [SECURE, PLAIN])
def test_with_a_url_for_all_an_address_for_all_is_fine(mesh_url: MeshUrl) -> None:
    open_socket("0.0.0.0", 0, mesh_url=mesh_url).close()


def test_a_socket_of_the_parent_is_adopted(listener: socket.socket) -> None:
    adopted = adopt_socket(listener.detach(), mesh_url=HERE)

    assert url_of(adopted).startswith("http://127.0.0.1:")
    adopted.close()


def test_an_adopted_socket_is_judged_too() -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        fd = everywhere.detach()

        with pytest.raises(CannotListen, match="for this machine alone"):
            adopt_socket(fd, mesh_url=HERE)
        socket.socket(fileno=fd).close()


def test_a_descriptor_that_is_no_listening_tcp_socket_is_refused() -> None:
    left, right = socket.socketpair()
    with left, right, pytest.raises(CannotListen, match="expected a TCP socket that listens"):
        adopt_socket(left.fileno(), mesh_url=HERE)


def test_a_descriptor_that_is_not_open_is_refused() -> None:
    with pytest.raises(CannotListen, match="file descriptor 987654: Bad file descriptor"):
        adopt_socket(987654, mesh_url=HERE)
