"""The local drain, as a preStop hook runs it: before a real node, and before what is no node."""

import asyncio
import getpass
import http.client
import json
import os
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from meshcore.aio.marker_file import read_drain_request
from meshcore.aio.testing import ByteServer
from meshcore.cli import drain

PATIENCE_SECONDS = 30.0


def written(folder: Path, port: int, *, host: str = "127.0.0.1") -> Path:
    """Write a node's configuration and return its path."""
    file = folder / "node.toml"
    file.write_text(f'[node]\nid = "node-a"\nlisten = "{host}:{port}"\nhome = "home"\n')
    return file


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        number = int(probe.getsockname()[1])
    yield number


async def drained(config: Path, *arguments: str) -> int:
    """Run the command beside the loop."""
    return await asyncio.to_thread(drain.main, ["--config", str(config), *arguments])


@asynccontextmanager
async def node_running(config: Path) -> AsyncIterator[None]:
    command = [sys.executable, "-m", "meshcore", "node", "--config", str(config)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await process.stdout.readline()).startswith(b"ready ")
        yield
    finally:
        process.terminate()
        await process.wait()


def ready(port: int) -> int:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    line.request("GET", "/readyz")
    status = line.getresponse().status
    line.close()
    return status


async def test_a_real_node_is_drained_waited_for_and_given_back(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, port)
    async with node_running(config):
        assert await drained(config, "--wait", "30", "--reason", "pod stops") == drain.SAFE
        assert await asyncio.to_thread(ready, port) == 503

        assert await drained(config, "--undo") == drain.SAFE
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await asyncio.to_thread(ready, port) != 200:  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.1)

    assert capsys.readouterr().out.splitlines() == [
        "node-a is asked to drain",
        "it is safe to stop",
        "it serves again",
    ]


async def test_without_a_wait_the_marker_is_all(tmp_path: Path, port: int) -> None:
    config = written(tmp_path, port)

    assert await drained(config, "--reason", "rack 7", "--sticky") == drain.SAFE

    said = read_drain_request(tmp_path / "home") or {}
    assert (said["principal"], said["reason"], said["sticky"]) == (getpass.getuser(), "rack 7", True)


async def test_a_user_without_a_name_is_named_by_number(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)

    await drained(written(tmp_path, port))

    assert (read_drain_request(tmp_path / "home") or {})["principal"] == str(os.getuid())


async def test_whoever_does_not_answer_is_not_waited_for(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await drained(written(tmp_path, port), "--wait", "30") == drain.UNREACHABLE

    assert f"no node answers at 127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "code", "complaint"),
    [
        (json.dumps({"status": "draining", "safe_to_stop": False}), drain.TIME_UP, "after 0.1 s: draining"),
        ("[]", drain.UNREACHABLE, "no JSON object"),
        ("ready", drain.UNREACHABLE, "no node answers"),
    ],
)
async def test_an_answer_that_is_not_yet_or_never_the_right_one(
    tmp_path: Path, body: str, code: int, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = f"HTTP/1.1 503 Unavailable\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    async with ByteServer(answer).serve() as url:
        config = written(tmp_path, int(url.rpartition(":")[2]))

        assert await drained(config, "--wait", "0.1") == code

    assert complaint in capsys.readouterr().err


def test_a_wrong_configuration_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drain.main(["--config", str(tmp_path / "none.toml")]) == drain.BAD_CONFIGURATION
    assert "can't be read" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_is_said(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").write_text("a file")

    assert drain.main(["--config", str(written(tmp_path, port))]) == drain.FAILED
    assert "drain: " in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["-1", "3001", "nan"])
def test_a_wait_out_of_bounds_is_refused(tmp_path: Path, port: int, seconds: str) -> None:
    with pytest.raises(SystemExit):
        drain.main(["--config", str(written(tmp_path, port)), "--wait", seconds])


def test_undo_without_a_marker_says_so(tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert drain.main(["--config", str(written(tmp_path, port)), "--undo"]) == drain.SAFE
    assert capsys.readouterr().out == "nothing asked it to drain\n"
