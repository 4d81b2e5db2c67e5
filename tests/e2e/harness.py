"""Real processes for tests: started, waited for, listened to, and always ended.

Everything of one test lives in its own folder and on free loopback ports. A process is ended by SIGKILL when
it doesn’t go by itself; what it logged is in a file, which the fixture prints at the end.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, TypeVar, cast

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0  # for whatever is waited for: generous, because the machine may be busy
GRACE_SECONDS = 10.0
LOG_TAIL_CHARS = 6000
MESH_SECRET = "a-secret-for-tests"

# Linux kills it with us (1 is prctl's PR_SET_PDEATHSIG): who is killed in the middle of a test ends nothing.
DYING_WITH_US = (
    sys.executable,
    "-c",
    "import ctypes, os, signal, sys;"
    " ctypes.CDLL(None).prctl(1, signal.SIGKILL); os.execv(sys.argv[1], sys.argv[1:])",
)

Thing = TypeVar("Thing")
AnyProcess = TypeVar("AnyProcess", bound="Process")


def until(look: Callable[[], Thing], what: str = "", *, seconds: float = PATIENCE_SECONDS) -> Thing:
    """Look again and again until there is something, and return it; fails by `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or look}"
        time.sleep(0.02)
    return seen


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(request: str | urllib.request.Request, *, seconds: float = 10.0) -> HTTPResponse:
    """Return the answer; raises HTTPError for a status from 400 up and OSError when nobody answers."""
    answer = urllib.request.urlopen(request, timeout=seconds)
    return cast(HTTPResponse, answer)


def get_json(url: str, *, seconds: float = 10.0) -> Any:
    """Return the JSON at `url`, whatever the status."""
    try:
        with ask(url, seconds=seconds) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            return json.load(exc)


def status_of(url: str, *, seconds: float = 10.0) -> int:
    """Return the status of a GET, 0 when nobody answers."""
    try:
        with ask(url, seconds=seconds) as answer:
            return answer.status
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code
    except OSError:
        return 0


class Process:
    """A process of its own group that prints `ready URL` on standard output when it serves."""

    def __init__(self, name: str, argv: Sequence[str], *, folder: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.argv = list(argv)
        self.log_file = folder / f"{name}.log"
        self.url = ""
        self._output = folder / f"{name}.out"
        self._env = dict(env)
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; there must be a process."""
        assert self._popen is not None
        return self._popen.pid

    def start(self) -> None:
        """Start without waiting; what an earlier life of it logged stays."""
        with self._output.open("wb") as output, self.log_file.open("ab") as log:
            self._popen = subprocess.Popen(
                [*DYING_WITH_US, *self.argv],
                cwd=ROOT,
                env=self._env,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )

    def start_and_wait(self) -> str:
        """Start, wait for the ready line, and return the URL in it."""
        self.start()
        return self.wait_until_ready()

    def wait_until_ready(self) -> str:
        """Wait for the ready line and return the URL in it."""
        self.url = until(self._ready_url, f"{self.name} is ready\n{self.log()}")
        return self.url

    @property
    def resident_mib(self) -> float:
        """Memory in use, in MiB, without that of its children."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def exit_code(self) -> int | None:
        """Return the exit code, None while it runs."""
        assert self._popen is not None
        return self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group."""
        if self.exit_code() is None:
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it as a crash would, and wait for that."""
        self.signal(signal.SIGKILL)
        assert self._popen is not None
        self._popen.wait(GRACE_SECONDS)

    def wait(self, *, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the end and return the exit code."""
        assert self._popen is not None
        return self._popen.wait(seconds)

    def ask_to_end(self) -> None:
        """Ask it to end, if it was ever started."""
        if self._popen is not None:
            self.signal(signal.SIGTERM)

    def end(self) -> None:
        """End it in any case: asked first, killed after a grace."""
        if self._popen is None:
            return
        self.ask_to_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(GRACE_SECONDS)
        self.kill()

    def output(self) -> str:
        """Return what the present life has printed."""
        return self._output.read_text(errors="replace")

    def log(self) -> str:
        """Return the end of what it has logged, over all of its lives."""
        return self.log_file.read_text(errors="replace")[-LOG_TAIL_CHARS:] if self.log_file.exists() else ""

    def _ready_url(self) -> str:
        assert self.exit_code() is None, (
            f"{self.name} ended with {self.exit_code()}\n{self.output()}{self.log()}"
        )
        lines = self.output().splitlines()
        return next((line.removeprefix("ready ") for line in lines if line.startswith("ready ")), "")


class Mock(Process):
    """A mock provider."""

    def set_faults(self, **faults: Any) -> None:
        """Let these faults hold for all calls; none: it works."""
        body, method = json.dumps(faults).encode(), "POST" if faults else "DELETE"
        ask(urllib.request.Request(f"{self.url}/_faults", data=body, method=method)).close()

    def calls(self) -> dict[str, Any]:
        """Return how many calls and aborts it has seen."""
        counts: dict[str, Any] = get_json(f"{self.url}/_calls")
        return counts


class Node(Process):
    """A gateway node; its address is known before it runs."""

    def __init__(
        self, name: str, argv: Sequence[str], *, folder: Path, env: Mapping[str, str], port: int
    ) -> None:
        super().__init__(name, argv, folder=folder, env=env)
        self.url = f"http://127.0.0.1:{port}"
        self.config = folder / f"{name}.toml"
        self.home = folder / name

    def health(self) -> dict[str, Any]:
        """Return what `/v1/health` says: readout and breakers."""
        body: dict[str, Any] = get_json(f"{self.url}/v1/health")
        return body

    def ready(self) -> bool:
        """Return whether it takes new calls."""
        return status_of(f"{self.url}/readyz") == 200


class Dashboard(Process):
    """A dashboard with a database of its own; `manage` runs its other commands."""

    def __init__(
        self, name: str, argv: Sequence[str], *, folder: Path, env: Mapping[str, str], url: str
    ) -> None:
        super().__init__(name, argv, folder=folder, env=env)
        self.url = url

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it printed; fails with its complaint."""
        done = self.command(*arguments)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command to its end, whatever comes of it."""
        argv = [sys.executable, "manage.py", *arguments]
        return subprocess.run(argv, cwd=ROOT, env=self._env, capture_output=True, text=True, check=False)


class Mesh:
    """All processes of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[Process] = []

    def mock(self, name: str, *, model: str = "mock-model") -> Mock:
        """Start a mock provider."""
        argv = [sys.executable, "-m", "meshcore", "mock-ai", "--port", "0", "--name", name, "--model", model]
        mock = self._keep(Mock(name, argv, folder=self.folder, env=_environment()))
        mock.start_and_wait()
        return mock

    def node(
        self, name: str, *, env: Mapping[str, str] | None = None, module: Sequence[str] = ("meshcore",)
    ) -> Node:
        """Return a node that is neither configured nor started, with an address of its own.

        `module` is what is run instead of the program itself, with its first arguments.
        """
        argv = [sys.executable, "-m", *module, "node", "--config", str(self.folder / f"{name}.toml")]
        environment = _environment() | {"MESH_SECRET": MESH_SECRET} | dict(env or {})
        return self._keep(Node(name, argv, folder=self.folder, env=environment, port=free_port()))

    def configure(
        self,
        node: Node,
        *,
        providers: Mapping[str, str],
        peers: Sequence[Node] = (),
        extra: str = "",
    ) -> None:
        """Write a node's configuration: `providers` by name with their base URLs, `extra` more TOML."""
        tables = [
            _table(
                "[node]",
                id=node.name,
                listen=node.url.removeprefix("http://"),
                home=str(node.home),
                mesh_secret_env="MESH_SECRET",
            ),
            *(_table("[[providers]]", name=name, base_url=url) for name, url in providers.items()),
            *(_table("[[peers]]", id=peer.name, url=peer.url) for peer in peers),
            extra,
        ]
        node.config.write_text("\n".join(tables))

    def dashboard(
        self,
        *arguments: str,
        name: str = "dashboard",
        env: Mapping[str, str] | None = None,
        like: Path | None = None,
    ) -> Dashboard:
        """Return a dashboard that isn't started, with an address of its own and these arguments of `serve`.

        Its state is that of the mesh: the first one makes it, as a copy of the one in the folder `like`, or
        else empty and migrated.
        """
        port, var = free_port(), self.folder / "var"
        url = f"http://127.0.0.1:{port}"
        environment = _environment() | {"MESH_VAR": str(var), "MESH_URL": url} | dict(env or {})
        argv = [sys.executable, "manage.py", "serve", "--host", "127.0.0.1", "--port", str(port), *arguments]
        dashboard = self._keep(Dashboard(name, argv, folder=self.folder, env=environment, url=url))
        if var.exists():
            return dashboard
        if like is None:
            dashboard.manage("migrate", "--verbosity", "0")
        else:
            shutil.copytree(like, var)
        return dashboard

    def process(self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Process:
        """Return any other process, not started."""
        return self._keep(Process(name, argv, folder=self.folder, env=_environment() | dict(env or {})))

    @property
    def nodes(self) -> Sequence[Node]:
        """All nodes that were made."""
        return [process for process in self._processes if isinstance(process, Node)]

    def end(self) -> None:
        """End everything, and print what it logged."""
        for process in reversed(self._processes):
            process.ask_to_end()
        for process in self._processes:
            process.end()
        self.print_logs()

    def print_logs(self) -> None:
        """Print the end of what each has logged."""
        for process in self._processes:
            print(f"--- {process.name}\n{process.log()}")

    def _keep(self, process: AnyProcess) -> AnyProcess:
        self._processes.append(process)
        return process


def _environment() -> dict[str, str]:
    """Return this process's environment without what would reach into the processes of a test."""
    ours = ("MESH_", "DATABASE_URL", "CHANNEL_LAYER_URL")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONUNBUFFERED": "1"}


def _table(head: str, **settings: str) -> str:
    return "\n".join([head, *(f"{key} = {json.dumps(text)}" for key, text in settings.items())])
