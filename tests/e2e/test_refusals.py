"""Who may not is told so, what makes no sense is refused clearly, and nothing of it changes anything."""

import select
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.calls import call
from tests.e2e.conftest import Measured, OpenWindow
from tests.e2e.harness import Node
from tests.e2e.room import Body, Room

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

DRAIN = "nodes/node-a/drain"
REASON = "Draining is for operators and admins."
MIB = 1 << 20
PART = b"x" * (64 << 10)
ENDLESS_MIB = 256  # sent at most before the server must have said no
ROUNDS = 20  # the dashboard's bound is 1 MiB, a node's 8 MiB: kept, they would be 60 and 160 MiB
FLAT_MIB = 24.0
SOCKET_SECONDS = 30.0


@pytest.fixture(scope="module")
def node_a(room: Room) -> Node:
    """A node that serves, known to the dashboard."""
    node_a, _, _, _ = room.pair()
    return node_a


@pytest.fixture(autouse=True)
def _nothing_changes(room: Room, node_a: Node) -> Iterator[None]:
    """Behind every refusal all is as it was: what is asked of the node, what it does, that it answers."""
    before = order(room)
    yield
    assert order(room) == before
    assert room.now("node-a")["state"] == "running"
    assert call(node_a).routed_via == "local"


def order(room: Room) -> dict[str, Any]:
    asked = room.drain_of("node-a")
    return {key: asked[key] for key in ("generation", "observed_generation", "drain", "last")}


# Who may.


@pytest.mark.parametrize(
    ("method", "path", "program", "token", "status"),
    [
        ("GET", "nodes", "", "", 401),
        ("GET", "nodes", "", "not-a-token", 401),
        ("GET", "nodes", "", "msh_abcdefgh_" + "x" * 43, 401),
        ("GET", "nodes", "deployer", "", 403),
        ("GET", "audit", "reader", "", 403),
        ("POST", DRAIN, "", "", 401),
        ("POST", DRAIN, "", "msh_abcdefgh_" + "x" * 43, 401),
        ("POST", DRAIN, "reader", "", 403),
        ("POST", DRAIN, "auditor", "", 403),
    ],
)
def test_without_the_right_token_it_is_401_or_403(
    room: Room, method: str, path: str, program: str, token: str, status: int
) -> None:
    answer = room.send(method, path, program=program, token=token)

    assert answer.status == status
    assert answer.body["status"] == status
    assert answer.body["detail"]
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def test_another_nodes_token_may_not_drain_this_one(room: Room) -> None:
    other = room.enrolment.node_tokens["node-b"]

    assert room.send("POST", DRAIN, token=other).status == 403


def test_a_token_in_the_address_opens_nothing(room: Room) -> None:
    token = room.enrolment.program_tokens["reader"]

    assert room.send("GET", f"nodes?token={token}").status == 401


@pytest.mark.parametrize("path", ["/", "/nodes/node-a/"], ids=["fleet", "node"])
def test_a_viewer_sees_the_button_disabled_with_the_reason(window: OpenWindow, path: str) -> None:
    page = window("bob").open_live(path)

    button = page.get_by_role("button", name=f"Drain node-a: {REASON}")
    expect(button).to_be_disabled()
    expect(button).to_have_attribute("title", REASON)
    expect(page.get_by_role("link", name="Drain node-a")).to_have_count(0)


def test_a_viewer_who_posts_the_form_all_the_same_is_refused(window: OpenWindow) -> None:
    bob = window("bob")
    page = bob.open("/nodes/node-a/")

    answer = post_form(page, "/nodes/node-a/drain/")

    assert answer["status"] == 403
    assert REASON in answer["text"]


def test_whoever_is_in_no_group_sees_nothing(window: OpenWindow) -> None:
    page = window("charlie").open("/")

    expect(page.get_by_role("heading", level=1)).to_have_text("You may not do that")
    expect(page.get_by_text("Your account belongs to no group that may look.")).to_be_visible()


def post_form(page: Page, path: str) -> dict[str, Any]:
    """Post what the drain's form would, from within the page and with its own CSRF token."""
    answer: dict[str, Any] = page.evaluate(
        """async (path) => {
            const form = new FormData(document.querySelector("form[method=post]"));
            form.set("reason", "because I can");
            const answer = await fetch(path, { method: "POST", body: new URLSearchParams(form) });
            return { status: answer.status, text: await answer.text() };
        }""",
        path,
    )
    return answer


# What makes no sense.


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b'{"action": "drain"', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"null", "expected a JSON object"),
        (b"[]", "expected a JSON object"),
        (b'"cancel"', "expected a JSON object"),
        (b'{"action": "explode"}', 'action is "explode"'),
        (b'{"action": null}', "action is null"),
        (b'{"actoin": "cancel"}', 'Unknown key "actoin"'),
        (b'{"action": "cancel", "action": "drain"}', "twice"),
        (b'{"deadline_seconds": "soon"}', "deadline_seconds"),
        ((b'{"action": ', b'"explode"}'), 'action is "explode"'),
        ((b"[" * 30_000,), "not JSON"),
    ],
    ids=str,
)
def test_a_body_that_makes_no_sense_is_400_and_named(room: Room, body: Body, words: str) -> None:
    answer = room.send("POST", DRAIN, body, program="deployer")

    assert answer.status == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert words in answer.body["detail"]


def test_an_unknown_node_is_404(room: Room) -> None:
    assert room.send("POST", "nodes/nowhere/drain", b"{}", program="deployer").status == 404
    assert room.send("GET", "nodes/nowhere", program="reader").status == 404


def test_a_body_that_is_no_json_by_its_own_word_is_415(room: Room) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    assert room.send("POST", DRAIN, b"action=cancel", program="deployer", headers=headers).status == 415


def test_a_refusal_of_somebody_entitled_is_in_the_audit(room: Room) -> None:
    room.send("POST", DRAIN, b'{"action": "explode"}', program="deployer")

    newest = room.audit()[0]
    assert (newest["actor_name"], newest["outcome"], newest["target"]) == (
        "deployer",
        "refused",
        "node:node-a",
    )
    assert "explode" in newest["reason"]


# What never ends.


TOO_LONG = pytest.mark.parametrize("length", [1 << 40, None], ids=["oversized", "never-ending"])


@TOO_LONG
def test_a_body_without_measure_is_413_whoever_sends_it_and_takes_no_memory(
    room: Room, length: int | None, measured: Measured
) -> None:
    before = room.dashboard.resident_mib

    url, path = room.dashboard.url, f"/api/v1/{DRAIN}"
    statuses = {shove(url, path, token, length=length) for token in tokens(room) * ROUNDS}

    grown = room.dashboard.resident_mib - before
    measured("memory of the dashboard, grown by", grown, "MiB")
    assert statuses == {413}
    assert grown < FLAT_MIB


@TOO_LONG
def test_a_node_refuses_such_bodies_too_and_takes_no_memory(
    node_a: Node, length: int | None, measured: Measured
) -> None:
    before = node_a.resident_mib

    statuses = {shove(node_a.url, "/v1/chat/completions", "", length=length) for _ in range(ROUNDS)}

    grown = node_a.resident_mib - before
    measured("memory of the node, grown by", grown, "MiB")
    assert statuses == {413}
    assert grown < FLAT_MIB


def tokens(room: Room) -> list[str]:
    """Return one of somebody who may, one of somebody who may not, and none."""
    return [room.enrolment.program_tokens["deployer"], room.enrolment.program_tokens["reader"], ""]


def shove(url: str, path: str, token: str, *, length: int | None) -> int:
    """Send a body that is `length` bytes by its own word, None: in chunks without an end; until answered."""
    host, _, port = url.removeprefix("http://").partition(":")
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    head = [f"POST {path} HTTP/1.1", f"Host: {host}:{port}", "Content-Type: application/json", framing]
    head += [f"Authorization: Bearer {token}"] if token else []
    part = PART if length is not None else f"{len(PART):x}\r\n".encode() + PART + b"\r\n"
    with closing(socket.create_connection((host, int(port)), timeout=SOCKET_SECONDS)) as line:
        line.sendall("\r\n".join([*head, "", ""]).encode())
        answer = answer_to(line, part)
    return int(answer.split(b" ", 2)[1])


def answer_to(line: socket.socket, part: bytes) -> bytes:
    """Send `part` again and again until there is an answer, and return its beginning."""
    line.setblocking(False)
    sent, rest = 0, part
    while True:
        readable, writable, _ = select.select([line], [line], [], SOCKET_SECONDS)
        if readable:
            return line.recv(len(PART))
        assert writable, "it neither reads nor answers"
        assert sent < ENDLESS_MIB * MIB, "it reads and reads"
        count = line.send(rest)
        sent, rest = sent + count, rest[count:] or part
