"""`add_node`: everything a node needs to start, printed or written."""

import re
import stat
import tomllib
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dashboard.models import AuditEntry, Node
from dashboard.services import tokens

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def var(tmp_path_factory: pytest.TempPathFactory, settings: Any) -> Path:
    """The folder of this installation."""
    settings.VAR_DIR = tmp_path_factory.mktemp("var")
    return Path(settings.VAR_DIR)


def run(*arguments: str) -> str:
    """Run the command and return what it prints."""
    out = StringIO()
    call_command("add_node", *arguments, stdout=out)
    return out.getvalue()


def opens(secret: str) -> str:
    """Return the name of the node that a token pushes for."""
    token = tokens.authenticate(secret, address="127.0.0.1")
    assert token.node is not None
    return token.node.name


def test_it_prints_the_token_the_configuration_and_the_command() -> None:
    told = run("laptop", "--upstream", "http://u/v1", "--listen", "127.0.0.1:9", "--dashboard", "http://d:1")

    secret = re.search(r"^  (msh_\S+)$", told, re.MULTILINE)
    toml = re.search(r"^\[node\].*?(?=^Start)", told, re.MULTILINE | re.DOTALL)
    assert secret is not None
    assert toml is not None
    assert opens(secret[1]) == "laptop"
    settings = tomllib.loads(toml[0])
    assert (settings["node"]["id"], settings["node"]["listen"]) == ("laptop", "127.0.0.1:9")
    assert settings["dashboard"] == {"url": "http://d:1", "token_env": "NODE_TOKEN"}
    assert settings["providers"][0]["base_url"] == "http://u/v1"
    assert re.search(rf"  NODE_TOKEN={secret[1]} \S+ -m meshcore node --config laptop.toml", told)


def test_it_names_whoever_ran_it() -> None:
    run("laptop")

    assert AuditEntry.objects.get(action="node.add").actor_name.startswith("shell:")


def test_it_writes_files_that_nobody_else_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "a b" / "laptop"

    told = run("laptop", "--folder", str(folder))

    assert opens((folder / "node.token").read_text().strip()) == "laptop"
    settings = tomllib.loads((folder / "node.toml").read_text())
    assert settings["dashboard"]["token_file"] == "node.token"
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert f"--config '{folder}/node.toml'" in told
    assert "msh_" not in told


def test_what_it_writes_is_a_configuration_that_a_node_accepts(tmp_path: Path, var: Path) -> None:
    from meshcore.config import parse_config

    run("laptop", "--folder", str(tmp_path))

    file = tmp_path / "node.toml"
    config = parse_config(
        file.read_text(), path=str(file), environ={}, read_file=lambda path: Path(path).read_text()
    )
    assert config.node.id == "laptop"
    assert config.secrets.mesh_secret == (var / "secrets" / "mesh_secret").read_text().strip()


def test_nodes_beside_the_dashboard_share_the_mesh_secret_by_reference(tmp_path: Path, var: Path) -> None:
    told = [run(name, "--folder", str(tmp_path / name)) for name in ("laptop", "desk")]

    secret = var / "secrets" / "mesh_secret"
    files = [(tmp_path / name / "node.toml").read_text() for name in ("laptop", "desk")]
    assert {tomllib.loads(file)["node"]["mesh_secret_file"] for file in files} == {str(secret)}
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert not any(secret.read_text().strip() in text for text in files + told)


def test_a_printed_configuration_goes_anywhere_and_holds_no_path_of_this_machine(var: Path) -> None:
    told = run("laptop")

    assert "mesh_secret_file" not in told.partition("Start it")[0]
    assert "it needs their secret" in told
    assert str(var) not in told
    assert not (var / "secrets" / "mesh_secret").exists()


def test_files_that_are_there_are_left_alone_and_no_node_is_added(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("mine")

    with pytest.raises(CommandError, match=r"node\.toml: File exists"):
        run("laptop", "--folder", str(tmp_path))

    assert [file.name for file in tmp_path.iterdir()] == ["node.toml"]
    assert (tmp_path / "node.toml").read_text() == "mine"
    assert not Node.objects.exists()


def test_a_name_that_is_taken_leaves_no_files(node: Node, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="there is a node of this name"):
        run("node-a", "--folder", str(tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_none_is_refused_in_one_line() -> None:
    with pytest.raises(CommandError, match="name='Laptop'"):
        run("Laptop")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--listen", "here"), "node.listen = 'here': expected HOST:PORT"),
        (("--upstream", "ollama"), "base_url = 'ollama': expected http://HOST"),
        (("--dashboard", "board"), "dashboard.url = 'board': expected http"),
        (("--listen", "0.0.0.0:8120"), "node.advertise is missing"),
    ],
)
def test_a_node_that_could_not_start_is_not_added(
    arguments: tuple[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match=re.escape(said)):
        run("laptop", *arguments, "--folder", str(tmp_path))

    assert not Node.objects.exists()
    assert not AuditEntry.objects.exists()
    assert list(tmp_path.iterdir()) == []
