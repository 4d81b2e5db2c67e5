"""The trail under real processes: many that write, one that is killed, migrations, a server that stops."""

import http.client
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.dashboard.served import ROOT, Served, environment, manage, serving

pytestmark = [pytest.mark.sqlite, pytest.mark.e2e, pytest.mark.timeout(300)]

WRITERS, ENTRIES = 8, 25
SETUP = """
import os, sys
sys.path.insert(0, os.getcwd())
os.environ["DJANGO_SETTINGS_MODULE"] = "dashboard.settings"
import django
django.setup()
"""
WRITE = f"""{SETUP}
from django.db import connection, transaction
from dashboard.models import Action
from dashboard.services import audit
from dashboard.services.actor import SYSTEM
from meshcore.clock import utcnow
connection.ensure_connection()
print("ready", flush=True)
sys.stdin.readline()
for n in range({ENTRIES}):
    with transaction.atomic():
        audit.record(head=audit.locked_head(), actor=SYSTEM, action=Action.DRAIN, target=sys.argv[1],
                     reason=str(n), now=utcnow())
"""
ROTATE = f"""{SETUP}
import signal
from pathlib import Path
from dashboard.services import audit, audit_archive, audit_rotate, audit_triggers
from dashboard.services.actor import SYSTEM
owner, name, call = sys.argv[2:]
owner = {{"archive": audit_archive.Archive, "triggers": audit_triggers, "audit": audit}}[owner]
real, calls = getattr(owner, name), []
def die(*args, **kwargs):
    calls.append(1)
    if len(calls) == int(call):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
setattr(owner, name, die)
audit_rotate.rotate(path=Path(sys.argv[1]), actor=SYSTEM)
"""


@pytest.fixture(scope="module")
def template(migrated_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a dashboard with four entries in its trail."""
    folder = shutil.copytree(migrated_state, tmp_path_factory.mktemp("template") / "var")
    for name in ("node-a", "node-b"):
        command(folder, "add_node", name)
    return folder


@pytest.fixture
def var(template: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(template, tmp_path / "var")


def command(var: Path, *arguments: str) -> str:
    done = manage(*arguments, env=environment(var))
    assert done.returncode == 0, done.stderr
    return done.stdout


def verified(var: Path) -> str:
    return command(var, "verify_audit").splitlines()[0]


@pytest.fixture
def run(var: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts Python code on the state in `var`; whatever still runs is killed behind this."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
        line = [sys.executable, "-c", code, *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(line, cwd=ROOT, env=environment(var), text=True, **pipes)  # type: ignore[call-overload]
        started.append(process)
        return process  # type: ignore[no-any-return]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def sql(var: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(var / "meshboard.sqlite3")) as database, database:
        return database.execute(statement).fetchall()


def test_eight_processes_that_write_at_once_make_one_chain(
    var: Path, run: Callable[..., "subprocess.Popen[str]"]
) -> None:
    writers = [run(WRITE, f"node:{n}") for n in range(WRITERS)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"

    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()

    assert [writer.wait(120) for writer in writers] == [0] * WRITERS
    total = 4 + WRITERS * ENTRIES
    assert (
        verified(var)
        == f"the audit trail: {total} entries (1 to {total}), none changed, removed, inserted or moved."
    )
    order = [
        str(target)
        for (target,) in sql(var, "SELECT target FROM dashboard_auditentry WHERE n > 4 ORDER BY n")
    ]
    assert {target: order.count(target) for target in set(order)} == {
        f"node:{n}": ENTRIES for n in range(WRITERS)
    }


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [("archive", "finish", "1"), ("triggers", "remove", "1"), ("triggers", "install", "1")],
)
def test_a_rotation_that_is_killed_leaves_the_trail_as_it_was(
    var: Path, run: Callable[..., "subprocess.Popen[str]"], owner: str, name: str, call: str
) -> None:
    killed = run(ROTATE, str(var / "1.jsonl"), owner, name, call)

    assert killed.wait(60) == -signal.SIGKILL
    assert "4 entries are in" in command(var, "rotate_audit", str(var / "2.jsonl"))  # it verifies first
    assert "5 to 5" in verified(var)


REFUSED = (
    "UPDATE dashboard_auditentry SET reason = 'x'",
    "DELETE FROM dashboard_auditentry",
    "REPLACE INTO dashboard_auditentry SELECT * FROM dashboard_auditentry WHERE n = 1",
)


def refuses(var: Path) -> bool:
    for statement in REFUSED:
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            sql(var, statement)
    return True


def test_the_database_refuses_also_after_migrating_a_step_back_and_forth(var: Path) -> None:
    steps = sorted(path.stem for path in (ROOT / "dashboard" / "migrations").glob("0*.py"))
    assert refuses(var)

    command(var, "migrate", "dashboard", steps[-2], "--verbosity", "0")
    assert refuses(var)
    command(var, "migrate", "--verbosity", "0")

    assert refuses(var)
    assert "4 entries (1 to 4)" in verified(var)


def ask(served: Served, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)) as connection:
        form = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, path, body or None, {**form, **headers})
        response = connection.getresponse()
        cookies = "; ".join(value.partition(";")[0] for value in response.headers.get_all("Set-Cookie") or ())
        return response.status, cookies, response.read().decode()


def test_who_was_refused_is_written_when_the_server_stops(var: Path) -> None:
    with serving(var) as served:
        for _ in range(3):
            assert ask(served, "GET", "/api/v1/nodes")[0] == 401
        assert ask(served, "GET", "/api/v1/audit", Authorization="Bearer msh_nothing")[0] == 401
        assert served.stop() < 5

    told = sql(
        var, "SELECT actor_name, target, count FROM dashboard_auditentry WHERE action = 'access' ORDER BY n"
    )
    assert told == [("127.0.0.0/24", "GET api/v1/nodes", 3), ("127.0.0.0/24", "GET api/v1/audit", 1)]
    assert "6 entries (1 to 6)" in verified(var)


def test_an_export_comes_through_the_real_server_whole(
    var: Path, run: Callable[..., "subprocess.Popen[str]"]
) -> None:
    password = re.search(r"\S{20}", command(var, "ensure_operator"))
    assert password is not None
    writer = run(WRITE.replace(f"range({ENTRIES})", "range(1200)"), "node:x")
    writer.communicate("go\n", 60)

    with serving(var) as served:
        _, cookies, page = ask(served, "GET", "/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token is not None
        form = {"csrfmiddlewaretoken": token[1], "username": "operator", "password": password[0]}
        status, session, _ = ask(
            served, "POST", "/login/", urlencode(form), Cookie=cookies, Origin=served.url
        )
        assert status == 302
        _, _, page = ask(served, "GET", "/audit/", Cookie=session)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token is not None
        form = urlencode({"csrfmiddlewaretoken": token[1], "do": "export-jsonl"})
        status, _, lines = ask(served, "POST", "/audit/", form, Cookie=session, Origin=served.url)

    assert status == 200
    (var / "export.jsonl").write_text(lines)
    assert len(lines.splitlines()) > 1200
    assert "none changed" in command(var, "verify_audit", "--head", str(var / "export.jsonl"))
