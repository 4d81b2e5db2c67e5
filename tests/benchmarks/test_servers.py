"""Server processes: ready when they answer rightly, and a failure that shows their last words."""

import sys
from pathlib import Path

import pytest

from benchmarks.load import Target
from benchmarks.servers import ServerFailed, free_port, module, started


def target(port: int, marker: bytes = b"choices") -> Target:
    body = b'{"messages":[]}'
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return Target(url=url, body=body, headers={}, marker=marker)


def test_a_server_is_ready_when_it_answers_and_uses_processor_time(tmp_path: Path) -> None:
    port = free_port()

    with started("upstream", module("benchmarks.upstream", str(port)), scratch=tmp_path) as server:
        server.wait_until_answering(target(port), seconds=15.0)
        used = server.cpu_seconds()

    assert used > 0


def test_a_server_that_answers_wrongly_never_gets_ready(tmp_path: Path) -> None:
    port = free_port()

    with (
        started("upstream", module("benchmarks.upstream", str(port)), scratch=tmp_path) as server,
        pytest.raises(ServerFailed, match="upstream gave no right answer"),
    ):
        server.wait_until_answering(target(port, b"nonsense"), seconds=0.1)


def test_a_server_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]

    with (
        started("peer", command, scratch=tmp_path) as server,
        pytest.raises(ServerFailed, match="peer ended with exit code 1: …no such model"),
    ):
        server.wait_until_answering(target(free_port()), seconds=15.0)


def test_a_server_that_does_not_want_to_stop_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.servers.STOP_SECONDS", 0.1)
    port = free_port()
    code = "import runpy, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    code += "runpy.run_module('benchmarks.upstream', run_name='__main__')"

    with started("deaf", [sys.executable, "-c", code, str(port)], scratch=tmp_path) as server:
        server.wait_until_answering(target(port), seconds=15.0)

    assert server._process.returncode == -9
