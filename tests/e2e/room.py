"""A control room: a dashboard with nodes that report to it, as programs meet it."""

import http.client
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tests.e2e.calls import call
from tests.e2e.enrolment import Enrolment
from tests.e2e.harness import Dashboard, Mesh, Mock, Node, until

PAGE_ROWS = 500
ANSWER_SECONDS = 30.0

Body = bytes | Iterable[bytes] | None


class Answer(NamedTuple):
    """An answer of the API; `body` is its JSON, None when it is none."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Room:
    """A dashboard with the enrolled, its own if none is given; it isn't started, and has no nodes yet."""

    def __init__(
        self,
        mesh: Mesh,
        enrolment: Enrolment,
        *,
        like: Path | None = None,
        dashboard: Dashboard | None = None,
    ) -> None:
        self.mesh = mesh
        self.enrolment = enrolment
        self.dashboard = dashboard or mesh.dashboard(like=like)

    def pair(self, *, extra: str = "") -> tuple[Node, Node, Mock, Mock]:
        """Start everything: node-a with provider alpha, node-b with beta, peers of each other."""
        alpha, beta = self.mesh.mock("alpha"), self.mesh.mock("beta")
        node_a, node_b = self.node("node-a"), self.node("node-b")
        self.configure(node_a, providers={"alpha": f"{alpha.url}/v1"}, peers=[node_b], extra=extra)
        self.configure(node_b, providers={"beta": f"{beta.url}/v1"}, peers=[node_a], extra=extra)
        self.start(node_a, node_b)
        return node_a, node_b, alpha, beta

    def node(self, name: str, *, env: Mapping[str, str] | None = None) -> Node:
        """Return an enrolled node that is neither configured nor started."""
        token = self.enrolment.node_tokens[name]
        return self.mesh.node(name, env={"NODE_TOKEN": token} | dict(env or {}))

    def configure(
        self,
        node: Node,
        *,
        providers: Mapping[str, str],
        peers: Sequence[Node] = (),
        through: str = "",
        extra: str = "",
    ) -> None:
        """Write the configuration of a node that reports here, over the URL `through` if there is one."""
        here = f'[dashboard]\nurl = "{through or self.dashboard.url}"\ntoken_env = "NODE_TOKEN"\n'
        self.mesh.configure(node, providers=providers, peers=peers, extra=here + extra)

    def start(self, *nodes: Node) -> None:
        """Start the dashboard and the nodes, and wait until it has heard of each, and each of its peers.

        The last one goes first, so that the first may need the others from its first call on.
        """
        self.dashboard.start_and_wait()
        for node in reversed(nodes):
            node.start_and_wait()
            until(node.ready, f"{node.name} takes calls")
        for node in nodes:
            self.wait_for(node.name, "running")
            until(
                partial(self.may_choose, node, {each.name for each in nodes}), f"{node.name} knows its peers"
            )

    # What programs see.

    def ask(self, path: str, *, program: str = "reader", **query: str | int) -> Any:
        """Return the JSON of an API path; it must be there."""
        answer = self.send("GET", f"{path}?{urlencode(query)}" if query else path, program=program)
        assert answer.status == 200, answer
        return answer.body

    def send(
        self,
        method: str,
        path: str,
        body: Body = None,
        *,
        program: str = "",
        token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request to an API path with the token of a program, or any other; an iterable is chunked."""
        token = token or self.enrolment.program_tokens.get(program, "")
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            sent["Content-Type"] = "application/json"
        return self._exchange(method, path, body, sent | dict(headers or {}))

    def _exchange(self, method: str, path: str, body: Body, headers: Mapping[str, str]) -> Answer:
        address = self.dashboard.url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS)
        try:
            chunked = body is not None and not isinstance(body, bytes)
            connection.request(
                method,
                f"/api/v1/{path}",
                body,
                dict(headers) | ({"Transfer-Encoding": "chunked"} if chunked else {}),
                encode_chunked=chunked,
            )
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        is_json = "json" in answer.headers.get("Content-Type", "")
        return Answer(answer.status, json.loads(raw) if is_json else None, dict(answer.headers))

    def now(self, name: str) -> dict[str, Any]:
        """Return how a node stands."""
        node: dict[str, Any] = self.ask(f"nodes/{name}")
        return node

    def wait_for(self, name: str, state: str) -> float:
        """Wait until the dashboard calls a node's state so; returns after how many seconds it did."""
        began = time.monotonic()
        until(lambda: self.now(name)["state"] == state, f"{name} is {state}")
        return time.monotonic() - began

    def drain_of(self, name: str) -> dict[str, Any]:
        """Return what is asked of a node, how far it is, and the steps of its last drain."""
        state: dict[str, Any] = self.ask(f"nodes/{name}/drain")
        return state

    def undrain(self, name: str) -> None:
        """Give a node back, and wait until it serves."""
        body = json.dumps({"action": "cancel", "reason": "the next test"}).encode()
        self.send("POST", f"nodes/{name}/drain", body, program="deployer")
        self.wait_for(name, "running")

    def trace(self, trace_id: str) -> dict[str, Any]:
        """Wait for the trace of a call and return its whole story."""
        rows = until(lambda: self.ask("traces", trace_id=trace_id)["results"], f"trace {trace_id}")
        assert len(rows) == 1
        story: dict[str, Any] = self.ask(f"traces/{rows[0]['id']}")
        return story

    def may_choose(self, node: Node, names: set[str]) -> bool:
        """Return whether a call to a node may go to any of `names`."""
        candidates = self.trace(call(node).trace_id)["candidates"]
        return {each["node"] for each in candidates if not each.get("reason")} >= names

    def traces(self) -> list[dict[str, Any]]:
        """Return every trace there is."""
        return self._every(f"traces?limit={PAGE_ROWS}", program="reader")

    def entries(self, *, since: int = 0) -> list[dict[str, Any]]:
        """Return every entry of the audit that is newer than the one with number `since`, oldest first."""
        entries = self._every(f"audit?limit={PAGE_ROWS}", program="auditor")
        return [entry for entry in reversed(entries) if entry["n"] > since]

    def _every(self, path: str, *, program: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while path:
            page = self.ask(path, program=program)
            rows += page["results"]
            path = (page["next"] or "").removeprefix("/api/v1/")
        return rows

    def audit(self, **filters: str) -> list[dict[str, Any]]:
        """Return the newest entries of the audit that fit, newest first."""
        entries: list[dict[str, Any]] = self.ask("audit", program="auditor", limit=PAGE_ROWS, **filters)[
            "results"
        ]
        return entries
