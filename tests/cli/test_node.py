"""The node's command line: checking, refusing, starting."""

import os
from pathlib import Path
from typing import Any

import pytest

from meshcore.alias import AliasBook
from meshcore.cli import node
from meshcore.errors import AlreadyRunning

GOOD = '[node]\nid = "node-a"\nlisten = "127.0.0.1:0"\nhome = "home"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A good configuration."""
    file = tmp_path / "node.toml"
    file.write_text(GOOD)
    return file


@pytest.fixture(autouse=True)
def _root_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "set_up_logs", lambda: None)


def test_check_only_checks(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert node.main(["--config", str(config), "--check"]) == 0

    assert capsys.readouterr().out == f"{config}: good\n"
    assert not (config.parent / "home").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[bus]\nmax_attempts = 0", "node.id is missing"),
        (b"\xff", "can't be read: 'utf-8' codec"),
        (b"#" * (node.FILE_MAX_BYTES + 1), "can't be read: longer than"),
    ],
)
def test_a_bad_file_is_refused_by_its_name(
    config: Path, content: bytes, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_bytes(content)

    assert node.main(["--config", str(config)]) == node.BAD_CONFIGURATION

    assert capsys.readouterr().err.startswith(f"node: {config}: {complaint}")


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert node.main(["--config", str(tmp_path / "none.toml"), "--check"]) == node.BAD_CONFIGURATION

    assert f"{tmp_path}/none.toml: can't be read: " in capsys.readouterr().err


def test_a_relative_file_is_complete_in_the_settings(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)

    loaded = node.load_config(Path("node.toml"), os.environ)

    assert loaded.node.home == str(config.parent / "home")


def test_a_node_runs_until_it_ends_and_says_where(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    book = AliasBook()
    config.write_text(GOOD + "[aliases]\n'mesh/fast' = ['alpha/m1']\n")

    async def run_node(loaded: Any, *, announce: Any, lifeline: bool, alias_file: Any) -> None:
        await alias_file.look(book)
        announce(f"http://{loaded.node.id}/{lifeline}")

    monkeypatch.setattr(node, "run_node", run_node)

    assert node.main(["--config", str(config), "--lifeline"]) == 0
    assert capsys.readouterr().out == "ready http://node-a/True\n"
    assert list(book.chains()) == ["mesh/fast"]


@pytest.mark.parametrize(
    ("failure", "complaint"),
    [
        (
            AlreadyRunning("/home/lock", holder="7"),
            "node: already running: /home/lock is held by process 7\n",
        ),
        (OSError(98, "Address already in use"), "node: Address already in use\n"),
        (PermissionError(13, "Permission denied", "/home"), "node: /home: Permission denied\n"),
    ],
)
def test_a_node_that_cannot_start_says_why(
    config: Path,
    failure: Exception,
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def run_node(loaded: Any, *, announce: Any, lifeline: bool, alias_file: Any) -> None:
        raise failure

    monkeypatch.setattr(node, "run_node", run_node)

    assert node.main(["--config", str(config)]) == node.FAILED
    assert capsys.readouterr().err == complaint
