"""`script/server` behind its environment: real processes around a manage.py of few lines."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a space in its path, whose manage.py is the fake."""
    checkout = tmp_path / "mesh board"
    shutil.copytree(ROOT / "script", checkout / "script", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "fake_manage.py", checkout / "manage.py")
    return checkout


@pytest.fixture
def run(checkout: Path) -> Iterator[Run]:
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **environ: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "script.run_mesh", *arguments]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
        process = subprocess.Popen(
            command,
            cwd=checkout,
            env=kept | environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        with process:
            process.terminate()


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """(exit code, what it printed), after at most a minute."""
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What the process prints up to the line with `text`."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if text in line:
            return read
    raise AssertionError(f"{text!r} never came: {read}")


def until_refused(port: int) -> None:
    """Connect until nobody listens; returns after 10 s of answers."""
    give_up_at = time.monotonic() + 10
    while time.monotonic() < give_up_at:
        socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.05)


def steps(checkout: Path) -> list[str]:
    """The commands that manage.py was given, in order."""
    return [line.split()[0] for line in (checkout / "steps").read_text().splitlines()]


def dashboard_url(output: str) -> str:
    found = re.search(r"dashboard +(http://\S+)/", output)
    assert found
    return found[1]


def test_the_server_says_where_everything_is_and_how_to_sign_in(run: Run, checkout: Path) -> None:
    output = read_until(run("--port", "18000"), "correct-horse")

    assert re.search(r"dashboard  http://127\.0\.0\.1:18\d{3}/$", output, flags=re.MULTILINE)
    assert re.search(r"faults     http://127\.0\.0\.1:\d+/faults$", output, flags=re.MULTILINE)
    assert re.search(r"node-a     http://127\.0\.0\.1:\d+/v1$", output, flags=re.MULTILINE)
    assert steps(checkout) == ["migrate", "ensure_operator", "serve", "demo"]


def test_who_has_signed_in_before_is_told_the_way_to_another_password(run: Run) -> None:
    server = run("--no-demo", "--port", "18900", FAKE="known operator")

    assert "--new-password makes another" in read_until(server, "sign in")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_within_five_seconds(run: Run, number: signal.Signals) -> None:
    server = run("--port", "18100")
    url = dashboard_url(read_until(server, "correct-horse"))
    began = time.monotonic()

    server.send_signal(number)

    assert ended(server)[0] == 0
    assert time.monotonic() - began < 5
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))


def test_a_busy_port_leads_to_the_next_free_one_and_is_said(run: Run, busy_port: int) -> None:
    output = read_until(run("--port", str(busy_port)), "correct-horse")

    assert f"port {busy_port} is busy, taking " in output
    assert dashboard_url(output) != f"http://127.0.0.1:{busy_port}"


def test_a_second_server_of_the_same_state_says_where_the_first_is(run: Run) -> None:
    url = dashboard_url(read_until(run("--port", "18200"), "correct-horse"))

    assert ended(run("--port", "18200")) == (1, f"script/server: already running here, at {url}\n")


def test_a_state_that_is_no_folder_is_named_in_a_sentence(run: Run, checkout: Path) -> None:
    (checkout / "state").touch()

    code, output = ended(run(MESH_VAR=str(checkout / "state")))

    assert code == 1
    assert output == (
        f"script/server: can't keep state in {checkout}/state: File exists; "
        "set it right, or name another folder in MESH_VAR\n"
    )


def test_without_demo_only_the_dashboard_starts(run: Run, checkout: Path) -> None:
    output = read_until(run("--no-demo", "--port", "18300"), "correct-horse")

    assert "node-a" not in output
    assert steps(checkout) == ["migrate", "ensure_operator", "serve"]


def test_check_makes_a_call_says_what_it_saw_and_leaves_nothing_behind(run: Run, checkout: Path) -> None:
    code, output = ended(run("--check", "--port", "18400"))

    assert code == 0
    assert "mesh        node-a are ready" in output
    assert "call        llama answered 'echo of Is the mesh alive?', routed via node-b" in output
    assert "trace       trace-1 is in the dashboard: ok" in output
    assert output.endswith("script/server: everything works\n")
    assert not (checkout / "var").exists()


def test_check_keeps_secrets_to_itself(run: Run) -> None:
    _, output = ended(run("--check", "--port", "18500"))

    assert "correct-horse" not in output
    assert "msh_" not in output


@pytest.mark.parametrize("broken", ["migrate", "ensure_operator", "serve", "demo", "add_token"])
def test_check_fails_with_the_last_words_of_what_is_broken(run: Run, broken: str) -> None:
    code, output = ended(run("--check", "--port", "18600", FAKE=broken))

    assert code == 1
    assert f"{broken} is broken" in output


def test_a_new_password_is_printed_while_the_server_runs(run: Run, checkout: Path) -> None:
    read_until(run("--port", "18700"), "correct-horse")

    code, output = ended(run("--new-password"))

    assert (code, output) == (0, "sign in as operator with correct-horse\n")
    assert (checkout / "steps").read_text().endswith("ensure_operator --new-password\n")


def test_when_a_part_ends_by_itself_the_rest_is_stopped(run: Run, checkout: Path) -> None:
    server = run("--port", "18800")
    read_until(server, "correct-horse")
    mesh = (checkout / "var" / "demo" / "mesh.json").read_text()

    os.kill(int(re.findall(r'"pid": (\d+)', mesh)[0]), signal.SIGKILL)

    code, output = ended(server)
    assert code == 1
    assert "script/server: demo ended by itself with exit code -9" in output


def test_a_server_that_is_killed_leaves_nothing_running(run: Run) -> None:
    server = run("--port", "19000")
    url = dashboard_url(read_until(server, "correct-horse"))

    server.kill()

    ended(server)  # its output ends with the last process that holds it
    with pytest.raises(ConnectionRefusedError):
        until_refused(int(url.rpartition(":")[2]))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "0"], "'0': expected a number from 1 to 65535"),
        (["--port", "http"], "'http': expected a number from 1 to 65535"),
        (["--check", "--no-demo"], "--check makes its call through the demo mesh"),
        (["--check", "--new-password"], "not allowed with argument"),
    ],
)
def test_a_wrong_command_line_starts_nothing(
    run: Run, checkout: Path, arguments: list[str], complaint: str
) -> None:
    code, output = ended(run(*arguments))

    assert code == 2
    assert complaint in output
    assert not (checkout / "steps").exists()
