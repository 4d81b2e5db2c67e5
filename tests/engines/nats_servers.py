"""NATS with JetStream: one that answers on its usual port, one from a wheel, or a cluster of three."""

import contextlib
import json
import signal
import socket
import sysconfig
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.e2e.harness import free_port
from tests.engines.servers import ANSWER_SECONDS, NoServer, running

NATS_SERVICE = "nats://127.0.0.1:4222"
CLUSTER = 3


def nats_answers(url: str) -> bool:
    """Return whether a NATS server with JetStream is there."""
    host, _, port = url.removeprefix("nats://").partition(":")
    try:
        with socket.create_connection((host, int(port)), ANSWER_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            greeting = connection.makefile().readline()
    except OSError:
        return False
    return greeting.startswith("INFO ") and bool(json.loads(greeting[5:]).get("jetstream"))


@contextlib.contextmanager
def nats_from_wheel(folder: Path) -> Iterator[str]:
    """Run the NATS of a wheel, and return its URL."""
    port = free_port()
    url = f"nats://127.0.0.1:{port}"
    argv = [program(), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "nats")]
    with running(argv, log=folder / "nats.log", ready=lambda: nats_answers(url)):
        yield url


class NatsEngine:
    """A run log on a server of its own, which is killed and started again on what it has stored."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._folder = folder
        self._running = contextlib.ExitStack()

    def start(self) -> None:
        """Start it."""
        argv = [program(), "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self._folder / "nats")]
        server = running(
            argv,
            log=self._folder / "nats.log",
            stop=signal.SIGKILL,
            ready=lambda: nats_answers(self.url),
        )
        self._running.enter_context(server)

    def stop(self) -> None:
        """Kill it."""
        self._running.close()

    def is_free(self) -> bool:
        """Return True: no client of it can keep others from storing anything."""
        return True


@contextlib.contextmanager
def nats_cluster(folder: Path) -> Iterator[list[str]]:
    """Run three servers that replicate to each other, and return their URLs."""
    ports = [(free_port(), free_port()) for _ in range(CLUSTER)]
    routes = ",".join(f"nats://127.0.0.1:{inner}" for _, inner in ports)
    with contextlib.ExitStack() as stack:
        urls = []
        for number, (port, inner) in enumerate(ports):
            argv = [program(), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / f"n{number}")]
            argv += ["--name", f"n{number}", "--cluster_name", "mesh-test"]
            argv += ["--cluster", f"nats://127.0.0.1:{inner}", "--routes", routes]
            urls.append(f"nats://127.0.0.1:{port}")
            ready = partial(nats_answers, urls[-1])
            stack.enter_context(running(argv, log=folder / f"n{number}.log", ready=ready))
        yield urls


def program() -> str:
    """Return the path of the wheel's server; raises NoServer."""
    found = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not found.exists():
        raise NoServer("nats-server is not installed: run script/setup --engines")
    return str(found)
