"""The peers' own virtual environment: made once, checked by the hash of its requirement file."""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "benchmarks" / "requirements.txt"
VENV = ROOT / ".venv-bench"
INSTALL_SECONDS = 600.0  # LiteLLM's proxy has a hundred packages
LAST_WORDS_MAX_CHARS = 300


class PeersMissing(Exception):
    """The peers can't be had; the text says why."""


def ensure(venv: Path = VENV, requirements: Path = REQUIREMENTS) -> Path:
    """Return the Python that has the peers, after installing them when needed. Raises PeersMissing."""
    python = venv / "bin" / "python"
    stamp, wanted = venv / "installed", hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(
        f"script/bench: installing peers into {venv.name} (a minute or two, once)",
        file=sys.stderr,
        flush=True,
    )
    _run([sys.executable, "-m", "venv", "--clear", str(venv)])
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-qq"]
    _run([*pip, "--requirement", str(requirements)])
    stamp.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise PeersMissing(f"installing the peers: {exc}") from exc
    if done.returncode:
        words = done.stderr.strip()[-LAST_WORDS_MAX_CHARS:]
        raise PeersMissing(f"installing the peers ended with exit code {done.returncode}: {words}")
