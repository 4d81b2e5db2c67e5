"""Aliases of real nodes: served over the mesh, read again from the file, kept when the file is wrong."""

import signal
from typing import Any

import openai
import pytest

from tests.e2e.calls import call, chunks
from tests.e2e.harness import Mesh, Node, get_json, until

pytestmark = pytest.mark.e2e


def table(*chain: str) -> str:
    return f"[aliases]\n'mesh/fast' = {list(chain)}\n"


def aliases(node: Node) -> dict[str, Any]:
    """Return what a node says of its aliases."""
    shown: dict[str, Any] = get_json(f"{node.url}/v1/aliases")
    return shown


def models(node: Node) -> set[str]:
    """Return what a node says that it can serve now, itself or by its peers."""
    return {model["id"] for model in get_json(f"{node.url}/v1/models")["data"]}


def chains(node: Node) -> list[list[str]]:
    return [alias["chain"] for alias in aliases(node)["aliases"]]


def test_an_alias_leads_over_a_dead_provider_to_a_peers_and_follows_its_file(mesh: Mesh) -> None:
    dead, alive = mesh.mock("alpha", model="near"), mesh.mock("beta", model="far")
    node_a, node_b = mesh.node("node-a"), mesh.node("node-b")
    mine = {"alpha": f"{dead.url}/v1"}
    mesh.configure(node_a, providers=mine, peers=[node_b], extra=table("alpha/near", "beta/far"))
    mesh.configure(node_b, providers={"beta": f"{alive.url}/v1"}, peers=[node_a])
    for node in (node_a, node_b):
        node.start()
    for node in (node_a, node_b):
        node.wait_until_ready()
    until(lambda: {"near", "far"} <= models(node_a), "node-a knows what its peer has")
    dead.set_faults(http=503)

    over = call(node_a, "slow:2x0", model="mesh/fast")
    mesh.configure(node_a, providers=mine, peers=[node_b], extra=table("beta/far"))
    node_a.signal(signal.SIGHUP)
    until(lambda: chains(node_a) == [["beta/far"]], "the aliases were read again")
    direct = call(node_a, model="mesh/fast")
    mesh.configure(node_a, providers=mine, peers=[node_b], extra=table())
    until(lambda: "at least one" in aliases(node_a)["problems"].get("file", ""), "the problem is said")
    still = call(node_a, model="mesh/fast")

    assert (over.routed_via, over.attempts, over.text) == ("node-b", 2, chunks(2))
    assert (direct.routed_via, direct.attempts) == ("node-b", 1)
    assert (still.routed_via, chains(node_a)) == ("node-b", [["beta/far"]])
    with pytest.raises(openai.NotFoundError, match="known are mesh/fast"):
        call(node_a, model="mesh/slow")
