"""`script/setup`, on a checkout whose requirement files are empty, so that nothing is downloaded."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from script.environment import LEVELS, STAMP, Level, ensure, fingerprint, read_stamp

ROOT = Path(__file__).resolve().parent.parent.parent


def make_checkout(folder: Path) -> Path:
    """A checkout with a space in its path, that needs nothing."""
    checkout = folder / "mesh board"
    shutil.copytree(ROOT / "script", checkout / "script")
    for level in LEVELS:
        (checkout / level).write_text("# nothing\n")
    return checkout


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout as it was cloned."""
    return make_checkout(tmp_path)


@pytest.fixture(scope="module")
def node_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the environment of a node, which takes seconds to make: tests get copies."""
    checkout = make_checkout(tmp_path_factory.mktemp("template"))
    ensure(checkout, Level.NODE)
    return checkout


@pytest.fixture
def checkout(tmp_path: Path, node_only: Path) -> Path:
    """A checkout with the environment of a node."""
    return Path(shutil.copytree(node_only, tmp_path / node_only.name, symlinks=True))


def setup(checkout: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run script/setup to its end."""
    command = [str(checkout / "script" / "setup"), *arguments]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=100)


def test_the_environment_is_made_once_and_then_left_alone(bare: Path) -> None:
    first = setup(bare)
    second = setup(bare)

    assert (first.returncode, second.returncode) == (0, 0)
    assert "making .venv" in first.stderr
    assert "installing requirements.txt" in first.stderr
    assert second.stderr == ""
    assert subprocess.run([bare / ".venv" / "bin" / "python", "-c", "import pip"]).returncode == 0


def test_changed_requirements_are_installed_into_the_same_environment(checkout: Path) -> None:
    mark = checkout / ".venv" / "mark"
    mark.touch()

    (checkout / Level.NODE).write_text("# something else\n")

    assert ensure(checkout, Level.NODE)
    assert mark.exists()
    assert not ensure(checkout, Level.NODE)


def test_a_level_holds_those_before_it(checkout: Path) -> None:
    ensure(checkout, Level.DEV)

    assert not ensure(checkout, Level.RUNTIME)
    assert not ensure(checkout, Level.NODE)


def test_a_node_alone_is_not_enough_for_the_dashboard(checkout: Path) -> None:
    assert not ensure(checkout, Level.NODE)
    assert ensure(checkout, Level.RUNTIME)


def test_after_a_failed_installation_what_was_there_is_not_trusted(checkout: Path) -> None:
    (checkout / Level.NODE).write_text("no such requirement\n")
    failed = setup(checkout, "--node")

    (checkout / Level.NODE).write_text("# nothing\n")

    assert failed.returncode == 1
    assert "failed with exit code 1" in failed.stderr.splitlines()[-1]
    assert ensure(checkout, Level.NODE)


@pytest.mark.parametrize("stamp", ["{", '{"interpreter": "/gone/python3.11 3.11.0"}'])
def test_an_environment_that_was_not_finished_or_lost_its_python_is_made_anew(bare: Path, stamp: str) -> None:
    venv = bare / ".venv"
    venv.mkdir()
    (venv / "rest").touch()
    (venv / STAMP).write_text(stamp)

    ensure(bare, Level.NODE)

    assert not (venv / "rest").exists()
    assert set(read_stamp(venv)) == {"interpreter", Level.NODE}


def test_two_at_once_work_one_after_the_other(checkout: Path) -> None:
    folder = os.open(checkout, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    command = [str(checkout / "script" / "setup"), "--node"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as second:
        assert second.stderr is not None
        assert second.stderr.readline() == "script/setup: waiting for another one to finish\n"
        with pytest.raises(subprocess.TimeoutExpired):  # it would end in a third of that
            second.wait(timeout=1)

        os.close(folder)

        assert second.wait(timeout=60) == 0


def test_the_fingerprint_depends_on_every_file_that_is_read(checkout: Path) -> None:
    before = {level: fingerprint(checkout, level) for level in LEVELS}

    (checkout / Level.RUNTIME).write_text("# something else\n")

    changed = {level for level in LEVELS if fingerprint(checkout, level) != before[level]}
    assert changed == {Level.RUNTIME, Level.DEV, Level.ENGINES}


def test_a_pip_that_is_told_to_install_for_the_user_still_installs_here(checkout: Path) -> None:
    (checkout / Level.NODE).write_text("# something else\n")

    assert setup(checkout, "--node", PIP_USER="1").returncode == 0


def test_without_python_it_says_in_one_line_what_is_missing(bare: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname"):
        (programs / name).symlink_to(shutil.which(name) or name)
    (programs / "python3").write_text(
        "#!/bin/sh\nexit 127\n"
    )  # like a version manager's shim without a Python
    (programs / "python3").chmod(0o755)

    result = setup(bare, PATH=str(programs))

    assert result.returncode == 1
    assert result.stderr.startswith("script/setup: found no Python 3.11")
    assert result.stderr.count("\n") == 1
