"""Whoever runs a command is named in the audit."""

import getpass
import os

import pytest

from dashboard.management.shell import whoever_runs_this


def test_the_account_on_the_machine_is_the_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "dora")

    who = whoever_runs_this()

    assert (who.kind.value, who.name) == ("system", "shell:dora")


def test_an_account_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)

    assert whoever_runs_this().name == f"shell:{os.getuid()}"
