"""The demo's files: what a node can start from."""

import os
from pathlib import Path

import pytest

from meshcore.aio.demo.plan import NODES, Plan, preferred_ports
from meshcore.cli.node import load_config
from meshcore.errors import ConfigError


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan in a folder whose name needs quoting."""
    folder = tmp_path / 'a "b" \\ ü 😀'
    folder.mkdir()
    token_files = {node: folder / f"{node}.token" for node in NODES}
    for file in token_files.values():
        file.write_text("msh_token\n")
    return Plan(
        folder=folder,
        dashboard_url="http://127.0.0.1:8000",
        mesh_secret="of-the-mesh",
        token_files=token_files,
        ports={name: 9000 + number for number, name in enumerate(preferred_ports())},
    )


def test_a_node_accepts_its_file(plan: Plan) -> None:
    plan.write()

    config = load_config(plan.config_file("node-b"), plan.environment())

    assert config.node.id == "node-b"
    assert config.node.advertise == plan.url("node-b")
    assert config.node.home == str(plan.folder / "node-b")
    assert config.secrets.dashboard_token == "msh_token"
    assert config.secrets.mesh_secret == "of-the-mesh"
    assert [(each.name, each.models) for each in config.providers] == [
        ("alpha", ("mock-fast",)),
        ("beta", ("mock-deep",)),
    ]
    assert {peer.id: peer.url for peer in config.peers} == {
        node: plan.url(node) for node in ("node-a", "node-c")
    }


def test_overrides_meant_for_another_node_stay_outside(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_NODE_LISTEN", "127.0.0.1:1")
    plan.write()

    inside = load_config(plan.config_file("node-a"), plan.environment())

    assert str(inside.node.listen) == f"127.0.0.1:{plan.ports['node-a']}"


def test_without_its_secret_a_node_does_not_start(plan: Plan) -> None:
    plan.write()

    with pytest.raises(ConfigError, match="MESH_SECRET"):
        load_config(plan.config_file("node-a"), {"PATH": os.environ["PATH"]})


def test_nodes_mocks_and_the_page_have_ports() -> None:
    names = preferred_ports()

    assert {"control", *NODES} <= set(names)
    assert sum("/" in name for name in names) == 6
