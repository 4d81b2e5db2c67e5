"""The same by hand: what a page shows or does, as a command to copy."""

import json
import shlex
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from dashboard.models import Scope

TOKEN = '-H "Authorization: Bearer $MESH_TOKEN"'  # noqa: S105 - where the token goes
OVERRIDE = {"key": "PROVIDER", "action": "force_open", "reason": "REASON"}
JSON = "-H 'Content-Type: application/json'"


def drain(name: str) -> str:
    """Return the command that drains a node."""
    return _post(name, {"reason": "REASON", "deadline_seconds": 900, "force": False, "sticky": True})


def change_drain(name: str, generation: int) -> str:
    """Return the command that changes a drain, unless somebody else did; what it leaves out stays."""
    body = json.dumps({"deadline_seconds": 1800, "reason": "REASON"})
    match = f"-H 'If-Match: \"{generation}\"'"
    return f"curl -X PUT {TOKEN} {JSON} {match} -d '{body}' {_url(f'nodes/{name}/drain')}"


def undrain(name: str) -> str:
    """Return the command that ends a drain."""
    return _post(name, {"action": "cancel", "reason": "REASON"})


def nodes() -> str:
    """Return the command that reads all nodes as JSON."""
    return f"curl {TOKEN} {_url('nodes')}"


def node(name: str) -> str:
    """Return the command that reads one node with its breakers as JSON."""
    return f"curl {TOKEN} {_url(f'nodes/{name}')}"


def aliases(node_url: str) -> str:
    """Return the command that asks a node for the aliases in force."""
    return f"curl {node_url or 'http://NODE'}/v1/aliases"


def traces() -> str:
    """Return the command that reads the newest traces as JSON."""
    return f"curl {TOKEN} {_url('traces')}"


def trace(trace_pk: int) -> str:
    """Return the command that reads one trace as JSON."""
    return f"curl {TOKEN} {_url(f'traces/{trace_pk}')}"


def drains() -> str:
    """Return the command that reads the newest drains as JSON."""
    return f"curl {TOKEN} {_url('drains')}"


def drain_record(drain_pk: int) -> str:
    """Return the command that reads one drain with its steps as JSON."""
    return f"curl {TOKEN} {_url(f'drains/{drain_pk}')}"


def runs() -> str:
    """Return the command that reads the newest runs as JSON."""
    return f"curl {TOKEN} {_url('runs')}"


def run(run_id: str) -> str:
    """Return the command that reads one run as JSON."""
    return f"curl {TOKEN} {_url(f'runs/{run_id}')}"


def cancel_run(run_id: str) -> str:
    """Return the command that has a run cancelled."""
    return f"curl {TOKEN} {JSON} -d '{json.dumps({'reason': 'REASON'})}' {_url(f'runs/{run_id}/cancel')}"


def example_run(node_url: str) -> str:
    """Return the command that makes a first run on a node."""
    body = json.dumps({"messages": [{"role": "user", "content": "hello"}]})
    return f"curl {node_url}/v1/runs {JSON} -d '{body}'"


def override(key: str, node: str = "") -> str:
    """Return the command that takes a provider out of service for an hour, on one node or on all."""
    body = {"key": key, "action": "force_open", "reason": "REASON", "expires_seconds": 3600}
    body |= {"node": node} if node else {}
    return f"curl {TOKEN} {JSON} -d {shlex.quote(json.dumps(body))} {_url('breakers/overrides')}"


def lift(key: str, node: str = "") -> str:
    """Return the command that ends an override, on one node or wherever it is."""
    query = urlencode({"key": key, **({"node": node} if node else {}), "reason": "REASON"})
    return f"curl -X DELETE {TOKEN} '{_url('breakers/overrides')}?{query}'"


def example_call(node_url: str) -> str:
    """Return the command that sends a first call to a node."""
    body = json.dumps({"messages": [{"role": "user", "content": "hello"}]})
    return f"curl {node_url}/v1/chat/completions {JSON} -d '{body}'"


def revoke_token(prefix: str) -> str:
    """Return the command that ends a token, for whoever has a shell."""
    return f'python manage.py revoke_token {prefix} --reason "REASON"'


def forget_node(name: str) -> str:
    """Return the command that takes a node out of the mesh."""
    where = _url(f"nodes/{name}")
    return f"curl {TOKEN} -X DELETE '{where}?reason=REASON'"


def first_use(scopes: Iterable[str]) -> str:
    """Return a command that a token of these scopes may give."""
    return FIRST_USE[min(scopes, key=list(FIRST_USE).index)]


def _post(name: str, body: dict[str, Any]) -> str:
    return f"curl {TOKEN} {JSON} -d '{json.dumps(body)}' {_url(f'nodes/{name}/drain')}"


def _url(path: str) -> str:
    return f"{settings.MESH_URL.origin}/api/v1/{path}"


FIRST_USE: dict[str, str] = {  # of several scopes, the first
    Scope.READ: nodes(),
    Scope.AUDIT_READ: f"curl {TOKEN} {_url('audit')}",
    Scope.NODES_DRAIN: drain("NODE"),
    Scope.RUNS_CANCEL: f"curl {TOKEN} -X POST {_url('runs/RUN/cancel')}",
    Scope.BREAKERS_WRITE: f"curl {TOKEN} {JSON} -d '{json.dumps(OVERRIDE)}' {_url('breakers/overrides')}",
    Scope.ADMIN: f"curl {TOKEN} {_url('tokens')}",
}
