"""The mock provider's command, as a process."""

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process

import aiohttp
import pytest

from meshcore.cli.mock_ai import main

PATIENCE_SECONDS = 20.0
COMMAND = "import sys; from meshcore.cli.mock_ai import main; sys.exit(main(sys.argv[1:]))"


async def start(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", COMMAND, *arguments, stdout=PIPE)


async def test_it_says_where_it_listens_answers_there_and_ends_on_sigterm() -> None:
    process = await start("--port", "0", "--name", "alpha", "--model", "m1", "--model", "m2")
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        word, url = (await process.stdout.readline()).decode().split()
        assert word == "ready"
        async with aiohttp.ClientSession() as http, http.get(f"{url}/v1/models") as answer:
            models = (await answer.json())["data"]

        process.send_signal(signal.SIGTERM)

        assert await process.wait() == 0
    assert [(model["id"], model["owned_by"]) for model in models] == [("m1", "alpha"), ("m2", "alpha")]


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert main(["--port", str(port)]) == 1

    assert f"can't listen on 127.0.0.1:{port}" in capsys.readouterr().out


@pytest.mark.parametrize("port", ["http", "-1", "65536"])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--port", port])

    assert "expected a port from 0 to 65535" in capsys.readouterr().err
