"""Requests to stop, with real signals and a real pipe."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcore.aio.stop_requests import StopRequests


class FakeStdin:
    """Standard input as a pipe whose other end the test holds."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def fileno(self) -> int:
        return self.reading


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStdin]:
    """This process's standard input for the test."""
    stdin = FakeStdin()
    monkeypatch.setattr("sys.stdin", stdin)
    yield stdin
    os.close(stdin.reading)


async def wait_for(event: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await event.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_asks_to_stop_and_a_second_one_to_hurry(number: signal.Signals) -> None:
    requests = StopRequests()
    with requests.listening():
        os.kill(os.getpid(), number)
        await wait_for(requests.stop)
        patient = not requests.hurry.is_set()
        os.kill(os.getpid(), number)
        await wait_for(requests.hurry)

    assert patient


async def test_a_hangup_is_no_reason_to_stop_and_asks_to_read_aliases_again() -> None:
    requests = StopRequests()
    with requests.listening():
        os.kill(os.getpid(), signal.SIGHUP)
        await wait_for(requests.hangup)

    assert not requests.stop.is_set()


async def test_a_file_is_no_lifeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "input").open("w") as file:
        monkeypatch.setattr("sys.stdin", file)

        with (
            pytest.raises(OSError, match="expected standard input to be a pipe"),
            StopRequests().listening(lifeline=True),
        ):
            pass


async def test_the_end_of_the_lifeline_asks_to_stop(stdin: FakeStdin) -> None:
    requests = StopRequests()
    with requests.listening(lifeline=True):
        os.write(stdin.writing, b"still here\n")
        await asyncio.sleep(0.01)
        alive = not requests.stop.is_set()
        os.close(stdin.writing)
        await wait_for(requests.stop)

    assert alive
    assert not requests.hurry.is_set()
