"""Server processes of a bench: started, asked until they answer rightly, watched for CPU time, stopped."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load import Target

ROOT = Path(__file__).resolve().parent.parent
POLL_SECONDS = 0.1
ASK_SECONDS = 5.0
STOP_SECONDS = 3.0
LAST_WORDS_MAX_CHARS = 200
CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ServerFailed(Exception):
    """A server didn't get ready; the text says which, and its last words."""


class Server:
    """A running process that answers at `url`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used, in user and kernel (Linux: proc(5), fields 14, 15)."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_SECOND

    def wait_until_answering(self, target: Target, *, seconds: float) -> None:
        """Return once it gives a right answer. Raises ServerFailed."""
        give_up_at = time.monotonic() + seconds
        while not _answers(target):
            if self._process.poll() is not None:
                raise ServerFailed(self._failure(f"ended with exit code {self._process.returncode}"))
            if time.monotonic() > give_up_at:
                raise ServerFailed(self._failure(f"gave no right answer within {seconds:g} s"))
            time.sleep(POLL_SECONDS)

    def wait_until_listening(self, port: int, *, seconds: float) -> None:
        """Return once it takes connections. Raises ServerFailed."""
        give_up_at = time.monotonic() + seconds
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), ASK_SECONDS).close()
            except OSError as exc:
                if self._process.poll() is not None or time.monotonic() > give_up_at:
                    raise ServerFailed(self._failure("takes no connections")) from exc
                time.sleep(POLL_SECONDS)
            else:
                return

    def stop(self) -> None:
        """End it, by force when it takes long."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _failure(self, what: str) -> str:
        words = " ".join(self._log.read_text(errors="replace").split())[-LAST_WORDS_MAX_CHARS:]
        return f"{self.name} {what}" + (f": …{words}" if words else "")


@contextmanager
def started(
    name: str, command: Sequence[str], *, scratch: Path, environ: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server while the context lasts; what it prints goes into a file in `scratch`."""
    log = scratch / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        server = Server(name, process, log)
        try:
            yield server
        finally:
            server.stop()


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours with this Python."""
    return [sys.executable, "-m", name, *arguments]


def free_port() -> int:
    """Return a port on loopback on which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(target: Target) -> bool:
    request = urllib.request.Request(target.url, data=target.body, headers=target.headers)  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=ASK_SECONDS) as answer:  # noqa: S310 - loopback
            return target.marker in answer.read()
    except (OSError, urllib.error.HTTPError):
        return False
