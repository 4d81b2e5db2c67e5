"""What a hostile or careless client may try over a real socket: it is refused, and nothing of it acts."""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.harness import Dashboard
from tests.e2e.room import Room
from tests.e2e.visitor import Visitor

pytestmark = pytest.mark.e2e

DRAIN = "nodes/node-a/drain"
CANCEL = b'{"action": "cancel", "reason": "smuggled"}'
SOCKET_SECONDS = 30.0
PIECE_BYTES = 1 << 16
WRITERS, WRITES = 4, 25
FORM = {"reason": "by a form", "deadline": "", "expires": "", "sticky": "1"}


@pytest.fixture(scope="module")
def dashboard(room: Room) -> Dashboard:
    """A dashboard; the nodes that it knows are off."""
    room.dashboard.start_and_wait()
    return room.dashboard


@pytest.fixture
def generation(room: Room, dashboard: Dashboard) -> Iterator[int]:
    """The generation of the drain that node-a is asked for; it is asked for just so behind the test."""
    asked = room.send("POST", DRAIN, b'{"reason": "kernel update"}', program="deployer").body
    before = room.drain_of("node-a")
    yield int(asked["generation"])
    assert room.drain_of("node-a") == before


def shout(room: Room, head: str, body: bytes = b"") -> int:
    """Send bytes as they are with the token of a program that may drain; return the status, 0 for none."""
    token = room.enrolment.program_tokens["deployer"]
    host, _, port = room.dashboard.url.removeprefix("http://").partition(":")
    lines = [f"Host: {host}:{port}", f"Authorization: Bearer {token}", "Connection: close"]
    first, *rest = head.splitlines()
    with closing(socket.create_connection((host, int(port)), timeout=SOCKET_SECONDS)) as line:
        line.sendall("\r\n".join([first, *lines, *rest, "", ""]).encode() + body)
        answer = line.recv(PIECE_BYTES)
    return int(answer.split(b" ", 2)[1]) if answer else 0


CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CANCEL), CANCEL)
POST = f"POST /api/v1/{DRAIN} HTTP/1.1\nContent-Type: application/json\n"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        pytest.param(f"Content-Length: {len(CANCEL)}\nTransfer-Encoding: chunked", CHUNKED, id="both"),
        pytest.param(f"Transfer-Encoding: chunked\nContent-Length: {len(CANCEL)}", CANCEL, id="both, plain"),
        pytest.param(f"Content-Length: 2\nContent-Length: {len(CANCEL)}", CANCEL, id="two lengths"),
        pytest.param(f"Content-Length: 2, {len(CANCEL)}", CANCEL, id="a list of lengths"),
        pytest.param(f"Content-Length: +{len(CANCEL)}", CANCEL, id="a signed length"),
        pytest.param(f"Content-Length: 0x{len(CANCEL):x}", CANCEL, id="a hexadecimal length"),
        pytest.param("Content-Length: -1", CANCEL, id="a negative length"),
        pytest.param("Transfer-Encoding: xchunked", CHUNKED, id="nearly chunked"),
        pytest.param("Transfer-Encoding: chunked, identity", CHUNKED, id="chunked inside"),
        pytest.param("Transfer-Encoding: gzip, chunked", CHUNKED, id="zipped chunks"),
        pytest.param("Transfer-Encoding: chunked", b"-1\r\n" + CANCEL, id="a negative chunk"),
        pytest.param("Transfer-Encoding: chunked", b"2\r\n" + CANCEL, id="a chunk too long"),
        pytest.param(f"Content-Length: {len(CANCEL)}\nContent-Encoding: gzip", CANCEL, id="coded"),
        pytest.param(f"Content-Length: {len(CANCEL)}\nX-Filler: {'x' * (1 << 20)}", CANCEL, id="a huge head"),
    ],
)
def test_a_body_whose_length_can_be_read_in_two_ways_cancels_nothing(
    room: Room, generation: int, head: str, body: bytes
) -> None:
    status = shout(room, POST + head, body)

    assert 400 <= status < 500 or status in (0, 501)


def test_a_method_in_a_header_is_not_the_method(room: Room, generation: int) -> None:
    head = f"GET /api/v1/{DRAIN} HTTP/1.1\nX-HTTP-Method-Override: DELETE\nX-Method-Override: DELETE"

    assert shout(room, head) == 403  # the token may drain, not read


@pytest.mark.parametrize("tag", ["{}", "W/{}", '"one"', "1", '"-1"', '"1e0"', '"٣"', '""', '"0", "x"'])
def test_a_condition_that_is_no_generation_of_now_changes_nothing(
    room: Room, generation: int, tag: str
) -> None:
    condition = tag.format(f'"{generation - 1}"').encode().decode("latin-1")

    answer = room.send("DELETE", DRAIN, program="deployer", headers={"If-Match": condition})

    assert answer.status in (400, 412), answer


def test_whoever_tries_prefixes_does_not_learn_which_are_there(room: Room, dashboard: Dashboard) -> None:
    known = room.enrolment.program_tokens["deployer"].split("_")[1]

    answers = [
        room.send("GET", "nodes", token=f"msh_{prefix}_{'x' * 43}") for prefix in (known, "zzzzzzzz", known)
    ]

    told = {json.dumps([answer.status, answer.body], sort_keys=True) for answer in answers}
    assert len(told) == 1
    assert answers[0].status == 401
    assert len({tuple(sorted(answer.headers)) for answer in answers}) == 1


def test_a_form_without_the_token_of_its_session_or_from_elsewhere_does_nothing(
    room: Room, dashboard: Dashboard
) -> None:
    alice, dora = (Visitor(dashboard.url).sign_in(name) for name in ("alice", "dora"))
    before = room.drain_of("node-a")

    statuses = [
        alice.post("/nodes/node-a/drain/", FORM | {"csrfmiddlewaretoken": ""}).status,
        alice.post("/nodes/node-a/drain/", FORM | {"csrfmiddlewaretoken": dora.csrf_token}).status,
        alice.post("/nodes/node-a/drain/", FORM, headers={"Origin": "http://elsewhere.test"}).status,
        alice.post("/api/v1/nodes/node-a/drain", {}).status,
        Visitor(dashboard.url).post("/nodes/node-a/drain/", FORM).status,
    ]

    assert statuses == [403, 403, 403, 401, 403]
    assert room.drain_of("node-a") == before


def test_a_form_that_is_sent_twice_at_once_is_one_order_and_two_attempts(
    room: Room, dashboard: Dashboard
) -> None:
    alice = Visitor(dashboard.url).sign_in("alice")
    alice.act("/nodes/node-a/undrain/", {"reason": "from here"})
    before, begin_n = room.drain_of("node-a")["generation"], room.audit()[0]["n"]

    with ThreadPoolExecutor(2) as threads:
        shown = list(threads.map(lambda _: alice.act("/nodes/node-a/drain/", FORM), range(2)))

    after = room.drain_of("node-a")["generation"]
    entries = room.entries(since=begin_n)
    alice.act("/nodes/node-a/undrain/", {"reason": "the next test"})

    assert [each.status for each in shown] == [200, 200]
    assert after == before + 1
    assert [entry["action"] for entry in entries] == ["drain", "drain"]


def test_rotating_while_others_write_loses_no_entry_and_breaks_no_chain(
    room: Room, dashboard: Dashboard, tmp_path: Path
) -> None:
    archives = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]

    def write(writer: int) -> list[int]:
        bodies = [json.dumps({"reason": f"{writer} wrote {each}"}).encode() for each in range(WRITES)]
        return [room.send("POST", DRAIN, body, program="deployer").status for body in bodies]

    with ThreadPoolExecutor(WRITERS) as threads:
        writing = threads.map(write, range(WRITERS))
        for archive in archives:
            dashboard.manage("rotate_audit", str(archive), "-m", "while others write")
        statuses = Counter(status for each in writing for status in each)

    verified = dashboard.manage("verify_audit", *(f"--archive={archive}" for archive in archives))
    assert statuses == {202: WRITERS * WRITES}
    assert verified.count("none changed") == len(archives) + 1
    reasons = Counter(entry["reason"] for entry in room.entries())
    for archive in archives:
        lines = map(json.loads, archive.read_text().splitlines())
        reasons += Counter(line["entry"]["reason"] for line in lines if "entry" in line)
    wrote = {reason: count for reason, count in reasons.items() if " wrote " in reason}
    assert wrote == {f"{writer} wrote {each}": 1 for writer in range(WRITERS) for each in range(WRITES)}
