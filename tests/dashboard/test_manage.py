"""`manage.py`: what an operator got wrong is one sentence and exit code 1, never a traceback."""

import re
import sqlite3
from pathlib import Path

import pytest

from tests.dashboard.served import environment, manage

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"MESH_URL": "mesh.example"}, "MESH_URL='mesh.example': expected http://HOST"),
        ({"MESH_URL": "http://mesh.example"}, "MESH_URL='http://mesh.example': plain http beyond loopback"),
        ({"MESH_TRUSTED_PROXIES": "here"}, "MESH_TRUSTED_PROXIES: 'here' does not appear"),
        ({"MESH_SECRET_KEY": "changeme"}, "MESH_SECRET_KEY is no secret"),
    ],
)
@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_wrong_setting_is_one_sentence(
    command: str, setting: dict[str, str], said: str, tmp_path: Path
) -> None:
    done = manage(command, env=environment(tmp_path, **setting))

    assert done.returncode == 1
    assert done.stderr.startswith(f"manage.py: {said}")
    assert done.stderr.count("\n") == 1


def test_secrets_that_others_can_read_keep_it_from_starting(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)

    done = manage("serve", env=environment(tmp_path))

    assert done.returncode == 1
    assert re.fullmatch(r"manage\.py: \S+/secrets has mode 0755.*run `chmod 700 \S+`.*\n", done.stderr)


@pytest.mark.parametrize("command", ["serve", "migrate", "ensure_operator"])
def test_a_database_file_that_is_none_is_one_sentence(command: str, tmp_path: Path) -> None:
    (tmp_path / "meshboard.sqlite3").write_bytes(b"not a database, but long enough to be looked at" * 40)

    done = manage(command, env=environment(tmp_path))

    assert done.returncode == 1
    assert done.stderr == (
        f"manage.py: the database {tmp_path}/meshboard.sqlite3 can't be used: file is not a database\n"
    )


def test_a_damaged_database_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "meshboard.sqlite3"
    with sqlite3.connect(file) as connection:
        connection.execute("create table django_migrations (id integer primary key, app, name, applied)")
    connection.close()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    content[100:200] = b"\xff" * 100
    file.write_bytes(content)

    done = manage("serve", env=environment(tmp_path))

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(f"manage.py: the database {file} can't be used: ")


def test_whoever_wants_the_whole_story_gets_it(tmp_path: Path) -> None:
    done = manage("check", "--traceback", env=environment(tmp_path, MESH_URL="x"))

    assert done.returncode == 1
    assert "Traceback" in done.stderr
