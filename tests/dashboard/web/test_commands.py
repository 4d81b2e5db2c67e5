"""Commands to copy."""

import json
import shlex

import pytest

from dashboard.web import commands


def body_of(command: str) -> dict[str, object]:
    """Return what a shell would send."""
    words = shlex.split(command)
    found: dict[str, object] = json.loads(words[words.index("-d") + 1])
    return found


def test_a_drain_is_asked_for_with_all_that_the_form_has() -> None:
    body = body_of(commands.drain("node-a"))

    assert body == {"reason": "REASON", "deadline_seconds": 900, "force": False, "sticky": True}


def test_a_change_insists_on_the_order_it_was_made_from() -> None:
    words = shlex.split(commands.change_drain("node-a", 17))

    assert words[1:3] == ["-X", "PUT"]
    assert 'If-Match: "17"' in words
    assert words[-1].endswith("/api/v1/nodes/node-a/drain")


@pytest.mark.parametrize(("node", "named"), [("", {}), ("node-a", {"node": "node-a"})])
def test_an_override_names_its_node_or_none(node: str, named: dict[str, str]) -> None:
    body = body_of(commands.override("it's/llama3", node))

    wanted = {"key": "it's/llama3", "action": "force_open", "reason": "REASON", "expires_seconds": 3600}
    assert body == wanted | named


@pytest.mark.parametrize(("node", "named"), [("", ""), ("node-a", "&node=node-a")])
def test_an_override_is_lifted_where_it_is_or_everywhere(node: str, named: str) -> None:
    words = shlex.split(commands.lift("groq/llama 3", node))

    assert words[1:3] == ["-X", "DELETE"]
    assert words[-1].endswith(f"/api/v1/breakers/overrides?key=groq%2Fllama+3{named}&reason=REASON")


def test_a_node_that_has_told_no_address_is_called_node() -> None:
    assert commands.aliases("") == "curl http://NODE/v1/aliases"
    assert commands.aliases("http://10.0.0.7:8100") == "curl http://10.0.0.7:8100/v1/aliases"
