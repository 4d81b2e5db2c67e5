"""A real `manage.py serve` for tests, on a database of its own."""

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
READY_SECONDS = 60.0
EXIT_SECONDS = 10.0


class Served:
    """A running server; `port` once it is ready."""

    def __init__(self, process: "subprocess.Popen[str]", lines: "queue.Queue[str]", var: Path) -> None:
        self.process = process
        self.var = var
        self._lines = lines
        self.url = ""
        self.port = 0

    def wait_until_ready(self) -> None:
        line = self._lines.get(timeout=READY_SECONDS)
        word, _, self.url = line.strip().partition(" ")
        assert word == "ready", line + (self.var / "stderr").read_text()
        self.port = int(self.url.rpartition(":")[2])

    @property
    def resident_mib(self) -> float:
        """Memory in use."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def peak_mib(self) -> float:
        """The most memory that was ever in use (proc(5), VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[1]) / 1024  # type: ignore[index]

    @property
    def stderr(self) -> str:
        return (self.var / "stderr").read_text()

    def stop(self) -> float:
        """End it with SIGTERM; returns how many seconds that took."""
        asked_at = time.monotonic()
        self.process.terminate()
        self.process.wait(EXIT_SECONDS)
        return time.monotonic() - asked_at


def environment(var: Path, **more: str) -> dict[str, str]:
    """The environment of a server whose state is in `var`."""
    ours = ("DATABASE_URL", "CHANNEL_LAYER_URL")
    kept = {name: text for name, text in os.environ.items() if name not in ours}
    return {**kept, "MESH_VAR": str(var), "PYTHONUNBUFFERED": "1", **more}


def manage(
    *arguments: str, env: dict[str, str], seconds: float = READY_SECONDS
) -> "subprocess.CompletedProcess[str]":
    """Run `manage.py` to its end, which it has to reach within `seconds`."""
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    return subprocess.run(
        command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )


@contextmanager
def serving(
    var: Path,
    *arguments: str,
    ready: bool = True,
    env: dict[str, str] | None = None,
    fd: int | None = None,
    code: str = "",
) -> Iterator[Served]:
    """Run `manage.py serve`, or `code` in its place; killed behind this if it still runs."""
    program = ["-c", code] if code else [str(ROOT / "manage.py")]
    command = [sys.executable, *program, "serve", "--port", "0", *arguments]
    lines: queue.Queue[str] = queue.Queue()
    with (var / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            command,
            env=environment(var, **(env or {})),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            pass_fds=() if fd is None else (fd,),
        )
    reader = threading.Thread(target=_read, args=(process, lines))
    reader.start()
    served = Served(process, lines, var)
    try:
        if ready:
            served.wait_until_ready()
        yield served
    finally:
        process.kill()
        process.wait()
        reader.join()


def _read(process: "subprocess.Popen[str]", lines: "queue.Queue[str]") -> None:
    assert process.stdout is not None
    with process.stdout as stdout:
        for line in stdout:
            lines.put(line)
    lines.put("ended")
