"""Telemetry by HTTP: the link's object, a node's token, a mark without a connection."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import HttpCommunicator
from django.db import OperationalError

from dashboard import runtime
from dashboard.api.openapi import document
from dashboard.asgi import application
from dashboard.edge import ingest as edge
from dashboard.models import AuditEntry, Node, Scope, SpoolMark, Trace
from dashboard.services import audit_refusals, ingest, link, nodes, tokens
from dashboard.services.actor import SYSTEM
from meshcore.capability import Manifest
from meshcore.clock import utcnow
from meshcore.frames import Hello
from tests.dashboard.services.test_ingest import trace

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 10.0
JSON = {"content-type": "application/json"}
Answer = tuple[int, dict[bytes, bytes], dict[str, Any]]


class Pusher:
    """Pushes with a token of node-a, unless told otherwise."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def __call__(
        self,
        body: bytes | dict[str, Any],
        *,
        method: str = "POST",
        secret: str | None = None,
        query: str = "",
        **headers: str,
    ) -> Answer:
        secret = self._secret if secret is None else secret
        said = {**JSON, **{name.replace("_", "-"): text for name, text in headers.items()}}
        said |= {"authorization": f"Bearer {secret}"} if secret else {}
        pairs = [(name.encode(), text.encode()) for name, text in said.items() if text]
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        wire = HttpCommunicator(application, method, f"/api/v1/ingest{query}", body=raw, headers=pairs)
        wire.scope["client"] = ["203.0.113.9", 4711]
        response = await wire.get_response(timeout=SECONDS)
        return response["status"], dict(response["headers"]), json.loads(response["body"])


@pytest.fixture
def node(db: None) -> Node:
    return nodes.add(name="node-a", actor=SYSTEM)[0]


@pytest.fixture
async def push(node: Node) -> AsyncIterator[Pusher]:
    token = await sync_to_async(tokens.issue)(
        name="batch", scopes=[Scope.NODES_PUSH], node=node, actor=SYSTEM
    )
    async with runtime.running(jobs=()):
        yield Pusher(token[1])


def frame(after: int, to: int, *, spool_id: str = "h1", **more: Any) -> dict[str, Any]:
    items = [trace(seq) for seq in range(after + 1, to + 1)]
    return {"spool_id": spool_id, "after": after, "to": to, "items": items, **more}


async def in_db(read: Callable[[], Any]) -> Any:
    return await runtime.current().in_render(read)


async def test_a_frame_is_stored_once_under_a_mark_of_its_spool(push: Pusher) -> None:
    first = await push(frame(0, 3, type="telemetry"))
    again = await push(frame(0, 3))
    overlapping = await push(frame(1, 5, dropped={"trace": 2}))

    assert [each[0] for each in (first, again, overlapping)] == [200, 200, 200]
    assert first[2] == {"type": "telemetry_ack", "to": 3, "refused": []}
    assert overlapping[2]["to"] == 5
    mark = await in_db(SpoolMark.objects.get)
    assert (mark.spool_id, mark.connection_no, mark.hwm, mark.dropped) == ("h1", 0, 5, {"trace": 2})
    assert await in_db(Trace.objects.count) == 5


async def test_a_gap_is_told_and_stores_nothing(push: Pusher) -> None:
    await push(frame(0, 2))

    status, _, answer = await push(frame(5, 6))

    assert (status, answer) == (200, {"type": "rewind", "hwm": 2})
    assert await in_db(Trace.objects.count) == 2


async def test_what_cannot_be_kept_is_refused_by_number(push: Pusher) -> None:
    body = frame(0, 2)
    body["items"][1]["trace"]["outcome"] = "so so"

    status, _, answer = await push(body)

    assert status == 200
    assert answer["refused"] == [{"seq": 2, "reason": "outcome='so so': expected ok or error"}]


async def test_a_spool_of_a_link_is_in_use_also_when_the_link_takes_it_later(
    push: Pusher, node: Node
) -> None:
    await push(frame(0, 2))
    hello = Hello(
        node_id="node-a", instance_id="i1", spool_id="h1", clock=utcnow(), manifest=Manifest(node_id="node-a")
    )
    number, descriptor = await sync_to_async(link.open_connection)(node=node, hello=hello, now=utcnow())

    status, _, answer = await push(frame(2, 3))

    assert (number, descriptor.resume_from) == (1, 2)
    assert (status, answer["code"]) == (409, "spool_in_use")
    assert "'h1'" in answer["detail"]
    assert await in_db(Trace.objects.count) == 2
    assert (await push(frame(0, 1, spool_id="h2")))[0] == 200


async def test_a_link_that_takes_the_spool_between_two_looks_keeps_it(
    push: Pusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.marks, "introduce", lambda **_: True)  # and somebody took it again

    status, _, answer = await push(frame(0, 1))

    assert (status, answer["code"]) == (409, "spool_in_use")


@pytest.mark.parametrize(
    ("body", "headers", "status", "named"),
    [
        (b"{", {}, 400, "truncated"),
        (b'{"after": 0, "to": 1}', {}, 400, "spool_id"),
        (b'{"spool_id": "h1", "after": 3, "to": 3}', {}, 400, "to=3"),
        (b"{}", {"content_type": "text/plain"}, 415, "text/plain"),
        (b"{}", {"content_type": ""}, 415, "content-type"),
        (b"{}", {"content_encoding": "gzip"}, 415, "gzip"),
        (b" " * (edge.BODY_MAX_BYTES + 1), {}, 413, str(edge.BODY_MAX_BYTES)),
    ],
)
async def test_what_cannot_be_read_is_refused_and_named(
    push: Pusher, body: bytes, headers: dict[str, str], status: int, named: str
) -> None:
    found, said, answer = await push(body, **headers)

    assert found == answer["status"] == status
    assert said[b"content-type"] == b"application/problem+json"
    assert named in answer["detail"]
    assert set(document()["components"]["schemas"]["Problem"]["required"]) <= set(answer)
    assert not await in_db(SpoolMark.objects.exists)


@pytest.mark.parametrize(
    ("query", "name"),
    [("?dry_run=1", "dry_run"), ("?dry_run", "dry_run"), ("?%20=", " "), (f"?{'x' * 99}=1", "x" * 80)],
)
async def test_a_parameter_is_refused_and_named_because_none_is_known(
    push: Pusher, query: str, name: str
) -> None:
    status, said, answer = await push(frame(0, 1), query=query)

    assert (status, said[b"content-type"]) == (400, b"application/problem+json")
    assert answer["detail"] == f"Unknown parameter {name!r}; allowed are none."
    assert answer["errors"] == [{"field": name, "detail": answer["detail"]}]
    assert answer["instance"] == "/api/v1/ingest"
    assert not await in_db(SpoolMark.objects.exists)


async def test_a_stranger_is_told_nothing_of_parameters(push: Pusher) -> None:
    assert (await push(frame(0, 1), query="?dry_run=1", secret=""))[0] == 401


async def test_a_body_may_come_in_pieces(push: Pusher) -> None:
    pieces = [
        {"type": "http.request", "body": b'{"spool_id": "h1", "af', "more_body": True},
        {"type": "http.request", "body": b'ter": 0, "to": 1}', "more_body": False},
    ]

    async def receive() -> dict[str, Any]:
        return pieces.pop(0)

    assert await edge._body(receive) == b'{"spool_id": "h1", "after": 0, "to": 1}'


async def test_only_post_is_answered(push: Pusher) -> None:
    status, headers, _ = await push(b"", method="GET")

    assert (status, headers[b"allow"]) == (405, b"POST")


async def test_who_has_no_token_of_a_node_is_refused_and_audited(push: Pusher) -> None:
    reader = (await sync_to_async(tokens.issue)(name="ci", scopes=[Scope.READ], actor=SYSTEM))[1]

    nobody, headers, _ = await push(frame(0, 1), secret="")
    wrong, _, answer = await push(frame(0, 1), secret=reader)

    assert (nobody, headers[b"www-authenticate"]) == (401, b"Bearer")
    assert wrong == 403
    assert "nodes:push" in answer["detail"]
    await in_db(lambda: audit_refusals.flush_all(now=utcnow()))
    refused = await in_db(lambda: list(AuditEntry.objects.filter(outcome="refused").order_by("n")))
    assert [entry.target for entry in refused] == ["POST ingest"] * 2


async def test_a_forgotten_node_pushes_nothing(push: Pusher, node: Node) -> None:
    await sync_to_async(nodes.forget)(node=node, actor=SYSTEM, reason="sold")

    assert (await push(frame(0, 1)))[0] == 401


@pytest.mark.parametrize(
    ("error", "status"), [(OperationalError("database is locked"), 503), (KeyError("a fault of ours"), 500)]
)
async def test_what_cannot_be_stored_now_is_told_without_inside_details(
    push: Pusher, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(ingest, "store", fail)

    found, headers, answer = await push(frame(0, 1))

    assert found == status
    assert (b"retry-after" in headers) == (status == 503)
    assert "fault" not in answer["detail"]
    assert "locked" not in answer["detail"]


async def test_when_too_many_wait_it_is_told_to_come_later(
    push: Pusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.ingest_writer.OUTSIDE_MAX", 0)

    status, headers, _ = await push(frame(0, 1))

    assert (status, headers[b"retry-after"]) == (503, b"5")
