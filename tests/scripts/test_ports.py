"""Which port `script/server` takes."""

import socket
from collections.abc import Iterator

import pytest

from script.ports import LOOPBACK, NoPort, first_free_port


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


def test_a_free_port_is_taken_as_it_is() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]

    assert first_free_port(port) == port


def test_a_busy_port_leads_to_a_later_one(busy_port: int) -> None:
    assert busy_port < first_free_port(busy_port) < busy_port + 100


def test_no_free_port_is_an_error_that_says_where_it_looked(
    busy_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("script.ports.TRIES_MAX", 1)

    with pytest.raises(NoPort, match=f"ports {busy_port} to {busy_port} are all busy"):
        first_free_port(busy_port)


def test_an_address_that_cannot_be_bound_is_no_busy_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("script.ports.LOOPBACK", "192.0.2.1")  # of no machine: RFC 5737

    with pytest.raises(OSError, match="assign requested address"):
        first_free_port(8000)
