"""A node's websocket, spoken over ASGI."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from dashboard import runtime
from dashboard.edge import link, standing
from dashboard.edge.link import LinkConsumer
from dashboard.edge.refusal_log import RefusalLog
from dashboard.models import AuditEntry, Node, NodeLink, Scope, Token
from dashboard.runtime import Runtime
from dashboard.services import audit_refusals, nodes, tokens
from dashboard.services.actor import SYSTEM
from dashboard.services.tokens import TokensUnavailable
from meshcore import framing
from meshcore.capability import Manifest
from meshcore.frames import Hello
from meshcore.link import CloseCode

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 10.0  # no answer takes this long, however busy the machine
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HELLO = Hello(
    node_id="somebody else", instance_id="i1", spool_id="s1", clock=NOW, manifest=Manifest(node_id="node-a")
)


@pytest.fixture
def secret() -> str:
    return nodes.add(name="node-a", actor=SYSTEM, now=NOW)[1]


@pytest.fixture
async def rt(secret: str) -> AsyncIterator[Runtime]:
    async with runtime.running() as running:
        yield running


class Wire:
    """A node's end of the socket."""

    def __init__(self, *headers: tuple[bytes, bytes], path: str = "/link/v1") -> None:
        self.asgi = WebsocketCommunicator(LinkConsumer.as_asgi(), path, headers=list(headers))

    async def open(self) -> "Wire":
        accepted, _ = await self.asgi.connect(SECONDS)
        assert accepted
        return self

    async def say(self, text: str | bytes) -> None:
        data = {"text_data": text} if isinstance(text, str) else {"bytes_data": text}
        await self.asgi.send_to(**data)

    async def hear(self) -> str:
        return str(await self.asgi.receive_from(SECONDS))

    async def closed(self) -> tuple[int, str]:
        while (output := await self.asgi.receive_output(SECONDS))["type"] != "websocket.close":
            assert output["type"] == "websocket.send"
        return int(output["code"]), str(output["reason"])


def bearer(secret: str) -> tuple[bytes, bytes]:
    return (b"authorization", f"Bearer {secret}".encode())


@asynccontextmanager
async def connected(*headers: tuple[bytes, bytes], path: str = "/link/v1") -> AsyncIterator[Wire]:
    wire = await Wire(*headers, path=path).open()
    yield wire
    await wire.asgi.disconnect(timeout=SECONDS)


async def stored(rt: Runtime) -> Any:
    return await rt.in_render(NodeLink.objects.get)


async def test_a_node_is_let_in_by_its_token_and_is_who_the_token_says(rt: Runtime, secret: str) -> None:
    async with connected(bearer(secret)) as wire:
        await wire.say(framing.encode(HELLO).decode())
        answer = await wire.hear()
        assert (await stored(rt)).closed_at is None

    assert '"resume_from":0' in answer
    assert (await stored(rt)).closed_at is not None
    node = await rt.in_render(Node.objects.get)
    assert (node.name, node.instance_id) == ("node-a", "i1")


async def test_that_the_token_is_used_is_noted_with_the_handshake(rt: Runtime, secret: str) -> None:
    async with connected(bearer(secret)) as wire:
        assert (await rt.in_render(Token.objects.get)).last_used_at is None

        await wire.say(framing.encode(HELLO))
        await wire.hear()

        assert (await rt.in_render(Token.objects.get)).last_used_at is not None


async def test_binary_messages_are_read_too(rt: Runtime, secret: str) -> None:
    async with connected(bearer(secret)) as wire:
        await wire.say(framing.encode(HELLO))

        assert "descriptor" in await wire.hear()


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [bearer("msh_aaaaaaaa_" + "x" * 43)],
        [bearer("")],
        [(b"authorization", b"Basic bm9kZTpzZWNyZXQ=")],
        [(b"authorization", b"\xff\xfe")],
        [(b"cookie", b"sessionid=whatever")],
    ],
)
async def test_without_a_known_token_nobody_is_let_in(
    rt: Runtime, headers: list[tuple[bytes, bytes]]
) -> None:
    async with connected(*headers) as wire:
        code, reason = await wire.closed()

    assert code == CloseCode.UNAUTHORIZED
    assert reason == "unknown or revoked token"


async def test_a_token_in_the_query_string_is_not_looked_at(rt: Runtime, secret: str) -> None:
    async with connected(path=f"/link/v1?token={secret}") as wire:
        assert (await wire.closed())[0] == CloseCode.UNAUTHORIZED


async def test_two_tokens_at_once_are_none(rt: Runtime, secret: str) -> None:
    async with connected(bearer(secret), bearer(secret)) as wire:
        assert (await wire.closed())[0] == CloseCode.UNAUTHORIZED


async def test_a_token_that_is_not_a_nodes_is_not_let_in(rt: Runtime) -> None:
    _, reader = await rt.in_control(tokens.issue, name="ci", scopes=[Scope.READ], actor=SYSTEM)

    async with connected(bearer(reader)) as wire:
        code, reason = await wire.closed()

    assert (code, reason) == (CloseCode.UNAUTHORIZED, "the token is not a node's")


async def test_who_is_turned_away_is_counted_for_the_audit(rt: Runtime, secret: str) -> None:
    _, reader = await rt.in_control(tokens.issue, name="ci", scopes=[Scope.READ], actor=SYSTEM)
    wrong = bearer(secret[:-1] + ("x" if secret[-1] != "x" else "y"))

    for header in (wrong, wrong, bearer(reader)):
        async with connected(header) as wire:
            await wire.closed()
    await rt.in_control(audit_refusals.flush_all, now=NOW)

    entries = AuditEntry.objects.filter(action="link").order_by("n")
    told = [entry async for entry in entries.values_list("actor_kind", "actor_name", "count", "reason")]
    assert told == [
        ("stranger", "no address", 2, "token unknown"),
        ("token", "ci", 1, "the token is not a node's"),
    ]


async def test_when_tokens_cannot_be_checked_the_node_shall_come_again(
    rt: Runtime, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*args: object, **kwargs: object) -> None:
        raise TokensUnavailable("the database doesn't answer")

    monkeypatch.setattr(tokens, "authenticate", unavailable)

    async with connected(bearer(secret)) as wire:
        assert (await wire.closed())[0] == CloseCode.TRY_AGAIN_LATER


async def test_a_revoked_token_ends_the_socket_at_once(rt: Runtime, secret: str) -> None:
    async with connected(bearer(secret)) as wire:
        await wire.say(framing.encode(HELLO).decode())
        await wire.hear()

        token = await rt.in_control(Token.objects.get)
        await rt.in_control(tokens.revoke, token=token, actor=SYSTEM)

        assert (await wire.closed())[0] == CloseCode.UNAUTHORIZED


async def test_a_node_that_is_forgotten_loses_its_link_at_once(rt: Runtime, secret: str) -> None:
    async with connected(bearer(secret)) as wire:
        await wire.say(framing.encode(HELLO).decode())
        await wire.hear()

        node = await rt.in_control(Node.objects.get)
        await rt.in_control(nodes.forget, node=node, actor=SYSTEM, reason="sold", even_connected=True)

        assert (await wire.closed())[0] == CloseCode.UNAUTHORIZED


async def test_strangers_who_come_and_come_again_leave_a_few_lines(
    rt: Runtime, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "refusals", RefusalLog(link.logger, lines=3))

    for _ in range(10):
        async with connected(bearer("msh_aaaaaaaa_" + "x" * 43)) as wire:
            await wire.closed()

    assert len([line for line in caplog.messages if "is refused" in line]) == 3


async def test_a_token_is_checked_again_now_and_then_and_stays(
    rt: Runtime, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[str] = []
    real = tokens.authenticate

    def count(given: str, **how: Any) -> Token:
        checks.append(how["address"])
        return real(given, **how)

    monkeypatch.setattr(standing, "RECHECK_SECONDS", 0.01)
    monkeypatch.setattr(tokens, "authenticate", count)
    async with connected(bearer(secret)) as wire:
        async with asyncio.timeout(SECONDS):
            while len(checks) < 3:  # noqa: ASYNC110 - a patched function has no event
                await asyncio.sleep(0.01)
        await wire.say(framing.encode(HELLO).decode())

        assert "descriptor" in await wire.hear()


async def test_the_rules_of_the_link_are_held(rt: Runtime, secret: str) -> None:
    async with connected(bearer(secret)) as wire:
        await wire.say('{"type":"going_idle"}')
        await wire.say(framing.encode(HELLO).decode())

        assert (await wire.closed())[0] == CloseCode.PROTOCOL_ERROR
        assert await wire.asgi.receive_nothing()


async def test_a_reason_fits_into_a_close_frame(
    rt: Runtime, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = HELLO.__class__(**{**{f: getattr(HELLO, f) for f in HELLO.__struct_fields__}, "log_id": "é" * 65})

    async with connected(bearer(secret)) as wire:
        await wire.say(framing.encode(wrong).decode())
        code, reason = await wire.closed()

    assert code == CloseCode.PROTOCOL_ERROR
    assert 0 < len(reason.encode()) <= link.REASON_MAX_BYTES


async def test_a_socket_that_ends_before_a_word_leaves_nothing(rt: Runtime, secret: str) -> None:
    async with connected(bearer(secret)):
        pass

    assert (await stored(rt)).connection_no == 0
    assert rt.links == {}
