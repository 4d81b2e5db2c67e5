"""The demo's command: its nodes are known to the dashboard, its switches turn from the shell."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from dashboard.management.commands import demo
from dashboard.models import Node, Scope, Token
from dashboard.services import tokens
from dashboard.services.actor import SYSTEM
from meshcore.aio.demo import remote
from meshcore.aio.demo.plan import NODES, Plan
from meshcore.aio.lock_file import held_lock

pytestmark = pytest.mark.django_db

URL = "http://127.0.0.1:8000"


def secret_of(plan: Plan, node: str) -> str:
    return plan.token_files[node].read_text().strip()


def test_the_nodes_of_the_demo_have_tokens_of_their_own(tmp_path: Path) -> None:
    plan = demo.make_plan(tmp_path, URL)

    assert set(Node.objects.values_list("name", flat=True)) == set(NODES)
    for node in NODES:
        token = tokens.authenticate(secret_of(plan, node), address="127.0.0.1")
        assert token.node is not None
        assert (token.node.name, token.scopes) == (node, [Scope.NODES_PUSH])
        assert plan.token_files[node].stat().st_mode & 0o777 == 0o600


def test_the_second_start_keeps_nodes_tokens_and_ports(tmp_path: Path) -> None:
    first = demo.make_plan(tmp_path, URL)
    secrets = {node: secret_of(first, node) for node in NODES}

    second = demo.make_plan(tmp_path, URL)

    assert second == first
    assert {node: secret_of(second, node) for node in NODES} == secrets
    assert Token.objects.count() == 3


def test_a_token_that_no_longer_counts_is_replaced(tmp_path: Path) -> None:
    plan = demo.make_plan(tmp_path, URL)
    revoked = tokens.authenticate(secret_of(plan, "node-a"), address="127.0.0.1")
    tokens.revoke(token=revoked, actor=SYSTEM)
    plan.token_files["node-b"].unlink()

    again = demo.make_plan(tmp_path, URL)

    for node in NODES:
        assert tokens.authenticate(secret_of(again, node), address="127.0.0.1").node is not None
    assert Token.objects.count() == 5


def test_the_demo_runs_with_its_plan_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plans: list[Plan] = []

    async def run_demo(plan: Plan, *, code: Path, announce: Any, lifeline: bool) -> None:
        plans.append(plan)
        assert lifeline
        announce(plan.url("control"))

    monkeypatch.setattr(demo, "run_demo", run_demo)
    monkeypatch.setattr(connections, "close_all", lambda: None)  # the test still needs its own

    call_command("demo", "--var", str(tmp_path), "--dashboard", f"{URL}/", "--lifeline")

    assert capsys.readouterr().out == f"ready {plans[0].url('control')}\n"
    assert plans[0].dashboard_url == URL


def test_a_second_demo_of_the_same_files_is_refused(tmp_path: Path) -> None:
    with (
        held_lock(tmp_path / "demo" / "lock"),
        pytest.raises(CommandError, match="demo/lock is held by process"),
    ):
        call_command("demo", "--var", str(tmp_path))

    assert not Node.objects.exists()


def test_switches_are_turned_in_the_demo_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turned: list[tuple[Path, list[str]]] = []
    monkeypatch.setattr(remote, "turn", lambda folder, texts: turned.append((folder, texts)))

    call_command("demo", "--var", str(tmp_path), "--set", "node-a=kill", "--set", "node-a/alpha=fail")

    assert turned == [(tmp_path / "demo", ["node-a=kill", "node-a/alpha=fail"])]


def test_the_state_of_the_demo_is_shown_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "show", lambda folder: {"nodes": {"node-a": "up"}})

    call_command("demo", "--var", str(tmp_path), "--show")

    assert json.loads(capsys.readouterr().out) == {"nodes": {"node-a": "up"}}


@pytest.mark.parametrize("option", [["--set", "node-a=kill"], ["--set", "nonsense"], ["--show"]])
def test_what_cannot_be_done_is_said(tmp_path: Path, option: list[str]) -> None:
    with pytest.raises(CommandError, match=r"no demo runs in|expected NODE/PROVIDER="):
        call_command("demo", "--var", str(tmp_path), *option)


def test_help_lists_the_switches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command("demo", "--help")

    assert "--set node-a/alpha=fail" in capsys.readouterr().out
