"""The whole of Meshboard on one machine: the dashboard and a demo mesh, until Ctrl-C.

Run by `script/server` inside the project's environment. `--check` does the same with a state of its own: it
makes one call, says what it saw and stops. So it proves this checkout and leaves alone what it has recorded.
"""

import argparse
import contextlib
import fcntl
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from script import first_call
from script.ports import LOOPBACK, NoPort, first_free_port
from script.processes import Child, StartFailed, Stopped, stop_all
from script.stop_request import StopRequest

ROOT = Path(__file__).resolve().parent.parent
STEP_SECONDS = 120.0  # for a migration or the like; a slow disk's first one takes 10
READY_SECONDS = 60.0
PROBE_SECONDS = 20.0  # from a process that listens to one that takes calls
POLL_SECONDS = 0.1
TOKEN = re.compile(r"\bmsh_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}\b")
PROMPT = "Is the mesh alive?"
LOGIN_KNOWN = "  sign in    as before; script/server --new-password makes another password"


class AlreadyRunning(Exception):
    """Another `script/server` uses the same state; the text says where."""


class NoState(Exception):
    """The folder of the state can't be used; the text says why."""


@dataclass(slots=True)
class Meshboard:
    """The processes of one Meshboard, whose state is in `var` and whose dashboard listens on `port`."""

    var: Path
    port: int
    stop: StopRequest
    quiet: bool = False
    children: list[Child] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The dashboard's address."""
        return f"http://{LOOPBACK}:{self.port}"

    def start(self, name: str, *arguments: str, quiet: bool = False) -> Child:
        """Start `manage.py` with these arguments."""
        environ = {**os.environ, "MESH_URL": self.url, "MESH_VAR": str(self.var), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        child = Child(name, command, environ=environ, cwd=ROOT, quiet=quiet or self.quiet)
        self.children.append(child)
        return child

    def step(self, *arguments: str) -> str:
        """Run `manage.py` with these arguments to its end; return what it printed."""
        child = self.start(arguments[0], *arguments, quiet=True)
        output = child.wait_until_done(self.stop, seconds=STEP_SECONDS)
        self.children.remove(child)  # its process group may soon be another's
        return output

    def open(self, *, demo: bool) -> None:
        """Start the dashboard, and the demo mesh when asked; return when all take calls."""
        dashboard = self.start(
            "dashboard", "serve", "--host", LOOPBACK, "--port", str(self.port), "--lifeline"
        )
        dashboard.wait_until_ready(self.stop, seconds=READY_SECONDS)
        self._wait_for(f"{self.url}/healthz")
        if demo:
            mesh = self.start("demo", "demo", "--dashboard", self.url, "--var", str(self.var), "--lifeline")
            mesh.wait_until_ready(self.stop, seconds=READY_SECONDS)
            for node in self.mesh()["nodes"]:
                self._wait_for(f"{node['url']}/readyz")  # it joins when the dashboard has answered its hello

    def _wait_for(self, probe_url: str) -> None:
        give_up_at = time.monotonic() + PROBE_SECONDS
        while not first_call.says_yes(probe_url):
            self._look_after_children()
            if self.stop.wait(POLL_SECONDS):
                raise Stopped
            if time.monotonic() > give_up_at:
                raise StartFailed(f"{probe_url} did not say yes within {PROBE_SECONDS:g} s")

    def mesh(self) -> dict[str, Any]:
        """What the demo says of itself: `control_url`, and `nodes` with `id` and `url`, which may be none."""
        try:
            text = (self.var / "demo" / "mesh.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return {"nodes": []}
        said: dict[str, Any] = json.loads(text)
        return said

    def watch(self) -> None:
        """Return when a stop is asked for. Raises StartFailed when a child ends by itself."""
        while not self.stop.wait(POLL_SECONDS):
            self._look_after_children()

    def _look_after_children(self) -> None:
        for child in self.children:
            if child.exit_code is not None:
                raise StartFailed(f"{child.name} ended by itself with exit code {child.exit_code}")


@contextlib.contextmanager
def running(board: Meshboard) -> Iterator[None]:
    """Whatever happens inside, all processes of the board have ended behind it."""
    try:
        yield
    finally:
        stop_all(board.children)


@contextlib.contextmanager
def alone(var: Path) -> Iterator[Callable[[str], None]]:
    """Hold the state in `var` for this process; yields how to leave one's address.

    Raises AlreadyRunning, or NoState.
    """
    try:
        var.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock_file = (var / "server.lock").open("a+", encoding="utf-8")
    except OSError as exc:
        raise NoState(
            f"can't keep state in {var}: {exc.strerror}; set it right, or name another folder in MESH_VAR"
        ) from exc
    with lock_file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            lock.seek(0)
            raise AlreadyRunning(f"already running here, at {lock.read().strip()}") from exc
        lock.truncate(0)
        yield lambda url: print(url, file=lock, flush=True)


def serve(board: Meshboard, *, demo: bool) -> None:
    """Run until somebody stops it."""
    with running(board):
        board.step("migrate", "--no-input", "--verbosity=0")
        login = board.step("ensure_operator")
        board.open(demo=demo)
        print(_welcome(board, login), flush=True)
        board.watch()


def _welcome(board: Meshboard, login: str) -> str:
    mesh = board.mesh()
    lines = [f"  {'dashboard':<10} {board.url}/"]
    lines += [f"  {'faults':<10} {mesh['control_url']}"] if mesh["nodes"] else []
    lines += [f"  {node['id']:<10} {node['url']}/v1" for node in mesh["nodes"]]
    return "\n".join(["", "Meshboard is ready. Ctrl-C stops it.", *lines, login or LOGIN_KNOWN, ""])


def check(board: Meshboard) -> None:
    """Start everything, make one call through the mesh, print what was seen, stop."""
    with running(board):
        board.step("migrate", "--no-input", "--verbosity=0")
        board.step("ensure_operator")
        board.open(demo=True)
        mesh = board.mesh()
        print(f"dashboard   {board.url} is ready")
        print(f"mesh        {', '.join(node['id'] for node in mesh['nodes'])} are ready")
        answer = first_call.call(mesh["nodes"][0]["url"], prompt=PROMPT)
        print(f"call        {answer.model} answered {answer.text.strip()!r}, routed via {answer.routed_via}")
        token = TOKEN.search(board.step("add_token", "check", "--scope", "read"))
        if not token:
            raise StartFailed("add_token printed no token")
        trace = first_call.wait_for_trace(board.url, token=token[0], trace_id=answer.trace_id)
        print(f"trace       {answer.trace_id} is in the dashboard: {trace['outcome']}")
    print("script/server: everything works")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Command line of `script/server`."""
    parser = argparse.ArgumentParser(prog="script/server", description="Run the dashboard and a demo mesh.")
    parser.add_argument("--port", type=_port, default=8000, help="of the dashboard; busy: the next free one")
    parser.add_argument("--no-demo", action="store_true", help="the dashboard alone")
    once = parser.add_mutually_exclusive_group()
    once.add_argument(
        "--check", action="store_true", help="start all, make one call, say what was seen, stop"
    )
    once.add_argument(
        "--new-password", action="store_true", help="print a new password of `operator`, and stop"
    )
    options = parser.parse_args(arguments)
    if options.check and options.no_demo:
        parser.error("--check makes its call through the demo mesh: leave out --no-demo")
    return options


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 1 to 65535")
    return int(text)


def run(options: argparse.Namespace, stop: StopRequest) -> None:
    """Do what the command line says. Raises what main() turns into a sentence."""
    if options.check:
        for engine in ("DATABASE_URL", "CHANNEL_LAYER_URL"):  # a state of its own, whatever else there is
            os.environ.pop(engine, None)
        with tempfile.TemporaryDirectory(prefix="meshboard-") as scratch:
            check(Meshboard(Path(scratch) / "var", _choose_port(options.port), stop, quiet=True))
        return
    var = Path(os.environ.get("MESH_VAR") or ROOT / "var").resolve()
    if options.new_password:
        new_password(Meshboard(var, options.port, stop))
        return
    with alone(var) as tell:
        board = Meshboard(var, _choose_port(options.port), stop)
        tell(board.url)
        serve(board, demo=not options.no_demo)


def new_password(board: Meshboard) -> None:
    """Print a new password of the operator; the dashboard may run meanwhile."""
    with running(board):
        board.step("migrate", "--no-input", "--verbosity=0")
        print(board.step("ensure_operator", "--new-password"))


def _choose_port(wanted: int) -> int:
    port = first_free_port(wanted)
    if port != wanted:
        print(f"script/server: port {wanted} is busy, taking {port}", flush=True)
    return port


def main(arguments: Sequence[str]) -> int:
    """Return 0 when all went well or somebody stopped it, else 1 with a sentence that says why."""
    options = parse(arguments)
    stop = StopRequest()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(options, stop)
    except Stopped:
        return 0 if not options.check else 130
    except (AlreadyRunning, NoState, StartFailed, NoPort, first_call.CallFailed) as exc:
        print(f"script/server: {exc}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
