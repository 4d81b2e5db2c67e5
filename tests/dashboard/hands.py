"""Somebody else's hands on a server's database: a second process that does what a test says."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.dashboard.served import ROOT, environment

LOOP = """
import json, os, sys
sys.path.insert(0, os.getcwd())
os.environ["DJANGO_SETTINGS_MODULE"] = "dashboard.settings"
import django
django.setup()
print("ready", flush=True)
for line in sys.stdin:
    names = {"said": ""}
    exec(json.loads(line), names)
    print(json.dumps(names["said"]), flush=True)
"""


class Hands:
    """Runs Python in a process that has the server's database."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        assert self._answer() == "ready"

    def do(self, code: str) -> str:
        """Run `code`; returns what it leaves in `said`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()
        return str(json.loads(self._answer()))

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        assert answer, "the code failed; its traceback is in the output above"
        return answer


@contextmanager
def hands_on(var: Path) -> Iterator[Hands]:
    """Give hands on the database in `var`."""
    command = [sys.executable, "-c", LOOP]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(var), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Hands(process)
        assert process.stdin is not None
        process.stdin.close()
