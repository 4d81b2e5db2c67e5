"""The peers' environment: made when it isn't what the requirements say, and a failure that says why."""

import sys
from pathlib import Path

import pytest

from benchmarks import peers


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """What would have been run."""
    run: list[list[str]] = []

    def note(command: list[str]) -> None:
        run.append(command)
        (tmp_path / "venv").mkdir(exist_ok=True)

    monkeypatch.setattr(peers, "_run", note)
    return run


def test_it_is_made_once_and_again_when_the_requirements_change(
    tmp_path: Path, commands: list[list[str]]
) -> None:
    venv, requirements = tmp_path / "venv", tmp_path / "requirements.txt"
    requirements.write_text("peer==1\n")

    python = peers.ensure(venv, requirements)
    peers.ensure(venv, requirements)
    once = len(commands)
    requirements.write_text("peer==2\n")
    peers.ensure(venv, requirements)

    assert python == venv / "bin" / "python"
    assert (once, len(commands)) == (2, 4)
    assert commands[1][-2:] == ["--requirement", str(requirements)]


def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(peers.PeersMissing, match="exit code 3: no such peer"):
        peers._run([sys.executable, "-c", "import sys; sys.stderr.write('no such peer'); sys.exit(3)"])


def test_a_command_that_cannot_be_run_is_told() -> None:
    with pytest.raises(peers.PeersMissing, match="installing the peers"):
        peers._run(["/nonexistent/python"])


def test_a_command_that_goes_well_says_nothing() -> None:
    peers._run([sys.executable, "-c", "pass"])
