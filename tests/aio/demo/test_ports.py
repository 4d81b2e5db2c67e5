"""Ports that stay the same while they can."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcore.aio.demo.ports import HOST, choose_ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def test_every_name_has_a_port_of_its_own(tmp_path: Path) -> None:
    ports = choose_ports(tmp_path / "ports.json", dict.fromkeys("abcdef", 0))

    assert len(set(ports.values())) == 6


def test_the_ports_of_the_last_time_are_taken_again(tmp_path: Path) -> None:
    first = choose_ports(tmp_path / "ports.json", {"a": 0, "b": 0})

    assert choose_ports(tmp_path / "ports.json", {"a": 0, "b": 0}) == first


def test_a_port_that_somebody_else_has_now_is_replaced(tmp_path: Path, taken: int) -> None:
    file = tmp_path / "ports.json"
    file.write_text(json.dumps({"a": taken}))

    ports = choose_ports(file, {"a": taken})

    assert ports["a"] not in (0, taken)
    assert json.loads(file.read_text()) == ports


@pytest.mark.parametrize("text", ["{broken", "[]", '{"a": "x", "b": 70000}'])
def test_a_broken_file_is_no_obstacle(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ports.json"
    file.write_text(text)

    assert set(choose_ports(file, {"a": 0, "b": 0})) == {"a", "b"}
