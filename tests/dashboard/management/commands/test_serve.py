"""`manage.py serve` starts when it can, and else says in one line why not."""

import http.client
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboard.served import ROOT, Served, environment, manage, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def migrated(migrated_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database whose migrations are applied."""
    return shutil.copytree(migrated_state, tmp_path_factory.mktemp("migrated") / "var")


@pytest.fixture(scope="module")
def served(migrated: Path) -> Iterator[Served]:
    """A server that tests share and leave running."""
    with serving(migrated) as running:
        yield running


def test_a_busy_port_ends_it_with_one_line(served: Served) -> None:
    done = manage("serve", "--port", str(served.port), env=environment(served.var))

    assert done.returncode == 1
    assert done.stderr == (
        f"CommandError: can't listen on 127.0.0.1 port {served.port}: Address already in use\n"
    )


def test_a_second_server_of_the_same_database_is_refused(served: Served) -> None:
    done = manage("serve", "--port", "0", env=environment(served.var))

    assert done.returncode == 1
    assert done.stderr == (
        f"CommandError: another `serve` uses this database and holds {served.var}/meshboard.sqlite3.lock: "
        "SQLite takes one dashboard only\n"
    )


def test_it_stops_when_its_lifeline_ends(migrated: Path, tmp_path: Path) -> None:
    var = shutil.copytree(migrated, tmp_path / "var")
    command = [sys.executable, str(ROOT / "manage.py"), "serve", "--port", "0", "--lifeline"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment(var), cwd=ROOT, text=True, **pipes) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("ready ")

        _, complaints = server.communicate(timeout=30)

    assert (server.returncode, complaints) == (0, "")


def test_a_socket_of_the_parent_is_served_on(migrated: Path, tmp_path: Path) -> None:
    var = shutil.copytree(migrated, tmp_path / "var")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        with serving(var, "--fd", str(fd), fd=fd) as served:
            assert served.port == listener.getsockname()[1]
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()


def test_it_does_not_start_with_migrations_pending(tmp_path: Path) -> None:
    done = manage("serve", "--port", "0", env=environment(tmp_path))

    assert done.returncode == 1
    assert re.fullmatch(
        r"CommandError: \d+ migrations are not applied: run `python manage.py migrate` first\n", done.stderr
    )


def test_it_does_not_listen_for_all_with_a_url_for_one(migrated: Path) -> None:
    done = manage("serve", "--host", "0.0.0.0", "--port", "0", env=environment(migrated))

    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: can't listen on 0.0.0.0: MESH_URL=http://127.0.0.1:8000 is")


def test_a_token_in_an_address_opens_nothing_and_is_in_no_log(served: Served) -> None:
    made = manage("add_token", "ci", "--scope", "read", env=environment(served.var))
    secret = made.stdout.split()[-1]
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)

    statuses = []
    for path in ("/api/v1/nodes", "/nodes/x/", "/login/", "/link/v1", "/metrics", "/no/such/page"):
        connection.request("GET", f"{path}?token={secret}&access_token={secret}")
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()

    assert statuses[0] == 401
    assert "msh_" in secret
    assert secret not in served.stderr
