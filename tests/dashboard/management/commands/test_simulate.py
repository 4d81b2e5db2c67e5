"""`simulate`: a crowd of nodes against a real dashboard, and what it refuses to do."""

import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.core.management import call_command
from django.core.management.base import CommandError

from dashboard.management import descriptors
from dashboard.models import Node, Token
from dashboard.services import nodes
from dashboard.services.actor import SYSTEM
from tests.dashboard.served import Served, environment, manage, serving

NOWHERE = "http://127.0.0.1:1"  # nobody listens there

STORM_NODES = int(os.environ.get("MESH_STORM_NODES", "40"))
STORM_CALLS = int(os.environ.get("MESH_STORM_CALLS", "100"))  # that each of them has to tell of
STORM_SECONDS = os.environ.get("MESH_STORM_SECONDS", "120")
STORM_MIB = 200  # more than the dashboard had before, at any moment, for any number of calls
STORM_NODE_KIB = 300  # and this for each node: its socket, its session, the frame that it may have under way


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """The command sets up the logs of its process, which is ours here: put back how others are logged."""
    loggers = {name: logging.getLogger(name) for name in ("", "websockets")}
    levels, handlers = {name: logger.level for name, logger in loggers.items()}, list(loggers[""].handlers)
    yield
    for name, logger in loggers.items():
        logger.setLevel(levels[name])
    loggers[""].handlers = handlers
    structlog.reset_defaults()


@pytest.fixture
def served(migrated_state: Path, tmp_path: Path) -> Iterator[Served]:
    """A dashboard with a database of its own."""
    with serving(shutil.copytree(migrated_state, tmp_path / "var")) as running:
        yield running


def ask(served: Served, sql: str) -> list[Any]:
    with closing(sqlite3.connect(served.var / "meshboard.sqlite3")) as database:
        return [row[0] for row in database.execute(sql)]


@pytest.mark.e2e
def test_all_come_back_at_once_with_full_spools_and_everything_is_stored_once(served: Served) -> None:
    before = served.resident_mib
    asked = ("--nodes", str(STORM_NODES), "--backlog", str(STORM_CALLS), "--rate", "0", "--at-once")
    until = ("--until-caught-up", "--seconds", STORM_SECONDS, "--url", served.url)

    done = manage("simulate", *asked, *until, env=environment(served.var), seconds=float(STORM_SECONDS) + 60)

    assert done.returncode == 0, done.stdout + done.stderr
    peak = served.peak_mib
    print(done.stdout, f"dashboard: {before:.0f} MiB before, at most {peak:.0f} MiB")
    assert ask(served, "SELECT count(DISTINCT trace_id) FROM dashboard_trace") == [STORM_NODES * STORM_CALLS]
    assert ask(served, "SELECT count(*) FROM dashboard_trace") == [STORM_NODES * STORM_CALLS]
    assert ask(served, "SELECT count(*) FROM dashboard_node WHERE forgotten_at IS NULL") == [0]
    assert peak < before + STORM_MIB + STORM_NODES * STORM_NODE_KIB / 1024


def simulated(*arguments: str) -> str:
    """Run the command in this process and return what it prints."""
    out = StringIO()
    call_command("simulate", "--seconds", "0.2", "--nodes", "2", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_nodes_are_forgotten_at_the_end_unless_they_shall_be_kept() -> None:
    kept = simulated("--url", NOWHERE, "--keep")
    assert "0 of 2 nodes linked" in kept
    assert sorted(Node.objects.values_list("name", flat=True)) == ["sim-0001", "sim-0002"]

    assert "2 nodes are forgotten" in simulated("--url", NOWHERE)

    assert not Node.objects.exists()
    assert not Token.objects.filter(revoked_at=None).exists()


@pytest.mark.django_db(transaction=True)
def test_whoever_has_not_caught_up_in_time_fails_and_leaves_nothing() -> None:
    with pytest.raises(CommandError, match=r"not all had caught up after 0\.2 s"):
        simulated("--url", NOWHERE, "--until-caught-up", "--backlog", "1")

    assert not Node.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_real_node_of_such_a_name_is_left_alone() -> None:
    nodes.add(name="sim-0001", actor=SYSTEM)

    with pytest.raises(CommandError, match="sim-0001 is no simulated node: it is of default"):
        simulated("--url", NOWHERE)

    assert [node.name for node in Node.objects.all()] == ["sim-0001"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--url", "https://meshboard.example"), "is not on this machine"),
        (("--url", "127.0.0.1:8000"), "expected http://HOST:PORT"),
        (("--url", NOWHERE, "--nodes", "0"), "expected an integer from 1 to 5000"),
        (("--url", NOWHERE, "--rate", "fast"), "expected a number from 0 to 1000"),
        (("--url", NOWHERE, "--seconds", "nan"), "expected a number from 0 to 86400"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(
    arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        simulated(*arguments)

    assert not Node.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_another_machine_is_allowed_when_it_is_asked_for() -> None:
    assert "2 nodes are forgotten" in simulated("--url", "http://dashboard.invalid:1", "--anywhere")


@pytest.mark.django_db(transaction=True)
def test_more_nodes_than_open_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "allow", lambda sockets: 1)

    with pytest.raises(CommandError, match="--nodes 2: the limit of open files allows 1"):
        simulated("--url", NOWHERE)

    assert not Node.objects.exists()
