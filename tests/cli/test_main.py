"""Which command was asked for."""

import pytest

from meshcore.cli.main import COMMANDS, WRONG_USAGE, main


def test_a_command_gets_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[object] = []

    def command(argv: object) -> int:
        got.append(argv)
        return 7

    monkeypatch.setitem(COMMANDS, "node", (command, ""))

    assert main(["node", "--check"]) == 7
    assert got == [["--check"]]


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0

    output = capsys.readouterr().out
    assert all(name in output for name in COMMANDS)


@pytest.mark.parametrize(("argv", "complaint"), [([], "usage: "), (["nod"], "'nod' is no command\nusage: ")])
def test_anything_else_is_wrong_usage(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == WRONG_USAGE

    assert capsys.readouterr().err.startswith(complaint)
