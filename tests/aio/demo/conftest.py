"""A plan with free ports, and a mesh of it that doesn't run."""

from pathlib import Path

import pytest

from meshcore.aio.demo.mesh import DemoMesh
from meshcore.aio.demo.plan import NODES, Plan, preferred_ports
from meshcore.aio.demo.ports import choose_ports

CODE = Path(__file__).resolve().parents[3]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan whose nodes report to a dashboard that isn't there."""
    token_files = {node: tmp_path / f"{node}.token" for node in NODES}
    for file in token_files.values():
        file.write_text("msh_token\n")
    return Plan(
        folder=tmp_path,
        dashboard_url="http://127.0.0.1:9",
        mesh_secret="of-the-mesh",
        token_files=token_files,
        ports=choose_ports(tmp_path / "ports.json", dict.fromkeys(preferred_ports(), 0)),
    )


@pytest.fixture
def mesh(plan: Plan) -> DemoMesh:
    """A mesh that was never started."""
    return DemoMesh(plan, code=CODE)
