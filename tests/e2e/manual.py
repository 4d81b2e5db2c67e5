"""The lines of docs/operations.md that are to be copied, run as they stand there."""

import os
import re
import subprocess
from pathlib import Path

from tests.e2e.harness import ROOT

SECONDS = 60.0


def run(title: str, *, checkout: Path, env: dict[str, str]) -> str:
    """Run the lines under `title` in a checkout, and return what they print; fails with their complaint."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [lines] = re.findall(rf"<!-- test: {re.escape(title)} -->\n```bash\n(.*?)```", text, flags=re.DOTALL)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=checkout,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
