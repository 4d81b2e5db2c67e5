"""The project's virtual environment: makes `.venv` what the requirement files say; does nothing when it is.

Run by `script/setup` with the Python that the environment shall have. A stamp inside `.venv`, written last,
holds the interpreter and the hashes of the requirement files that are installed: an interrupted run leaves no
stamp that lies.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = "meshboard.json"


class Level(StrEnum):
    """How much is installed; each level holds those before it."""

    NODE = "requirements-node.txt"
    RUNTIME = "requirements.txt"
    DEV = "requirements-dev.txt"
    ENGINES = "requirements-engines.txt"


LEVELS = tuple(Level)


class SetupFailed(Exception):
    """The environment could not be made; the text says what to do about it."""


def up_to(level: Level) -> Sequence[Level]:
    """The levels that are installed with `level`, itself included."""
    return LEVELS[: LEVELS.index(level) + 1]


def fingerprint(root: Path, level: Level) -> str:
    """Hash of the requirement files that `level` reads."""
    texts = (f"{each}\n".encode() + (root / each).read_bytes() for each in up_to(level))
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def base_interpreter() -> str:
    """The installed Python behind this one, even when it runs from a virtual environment itself."""
    base: str = getattr(sys, "_base_executable", sys.executable)
    return f"{os.path.realpath(base)} {'.'.join(map(str, sys.version_info[:3]))}"


def read_stamp(venv: Path) -> dict[str, str]:
    """What the environment says of itself; empty when it was never finished."""
    try:
        stamp: dict[str, str] = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return stamp


def write_stamp(venv: Path, stamp: Mapping[str, str]) -> None:
    """Replace the stamp in one step."""
    draft = venv / f".{STAMP}.new"
    draft.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    draft.replace(venv / STAMP)


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Wait until no other setup works on this checkout. The lock, on the folder, ends with the process."""
    folder = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("script/setup: waiting for another one to finish", file=sys.stderr, flush=True)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def ensure(root: Path, level: Level) -> bool:
    """Bring `root/.venv` to `level`; True when there was something to do. Raises SetupFailed."""
    with alone(root):
        venv, interpreter, wanted = root / ".venv", base_interpreter(), fingerprint(root, level)
        stamp = read_stamp(venv)
        if stamp.get("interpreter") != interpreter:
            _announce(f"making .venv with {interpreter}")
            _run([interpreter.rpartition(" ")[0], "-m", "venv", "--clear", str(venv)])
            stamp = {"interpreter": interpreter}
        if stamp.get(level) == wanted:
            return False
        _announce(f"installing {level} into .venv (a minute, mostly downloads)")
        write_stamp(venv, {"interpreter": interpreter})
        _install(root, venv, level)
        installed = {each.value: fingerprint(root, each) for each in up_to(level)}
        write_stamp(venv, {"interpreter": interpreter, **installed})
        return True


def _install(root: Path, venv: Path, level: Level) -> None:
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "-qq"]
    _run([*command, "--requirement", str(root / level)])


def _run(command: Sequence[str]) -> None:
    # A person's PIP_USER would send packages past the environment.
    result = subprocess.run(command, env={**os.environ, "PIP_USER": "0"}, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise SetupFailed(f"this failed with exit code {result.returncode}: {' '.join(command)}")


def _announce(what: str) -> None:
    print(f"script/setup: {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Command line of `script/setup`."""
    parser = argparse.ArgumentParser(
        prog="script/setup", description="Make .venv with the pinned requirements."
    )
    choice = parser.add_mutually_exclusive_group()
    for flag, chosen, meaning in (
        ("--dev", Level.DEV, "what tests and checks need, too"),
        ("--engines", Level.ENGINES, "the servers that the tests of engines start, too"),
        ("--node", Level.NODE, "only what a node needs: no Django"),
    ):
        choice.add_argument(flag, dest="level", action="store_const", const=chosen, help=meaning)
    level: Level = parser.parse_args(arguments).level or Level.RUNTIME
    try:
        ensure(ROOT, level)
    except SetupFailed as exc:
        print(f"script/setup: {exc}", file=sys.stderr)
        return 1
    except PermissionError as exc:
        print(
            f"script/setup: {exc.filename} belongs to another user; remove it or use it as that one",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
