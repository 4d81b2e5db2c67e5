"""Runs with real processes on one SQLite log: an answer outlives the node that streams it.

What viewers get is compared with what the provider would have said without the fault.
"""

import json
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from typing import Any

import pytest

from tests.e2e.calls import MODEL, chunks, client_of, say, text_of
from tests.e2e.harness import Mesh, Mock, Node, ask, get_json, until

pytestmark = pytest.mark.e2e

CHUNKS = 60
ANSWER = f"slow:{CHUNKS}x50"  # 3 s: time enough to see it begin and to end who gives it
LONG = f"slow:{CHUNKS}x150"  # 9 s: beyond a lease
LEASE_SECONDS = 4.0
PROVIDER = '[[providers]]\nname = "{}"\nbase_url = "{}/v1"\nmodels = ["mock-model"]\ncontinuation = "{}"\n'


@dataclass
class Frame:
    """An event of an attached viewer."""

    seq: int
    name: str
    data: dict[str, Any]
    at: float = field(default_factory=time.monotonic, compare=False)


class Viewer(threading.Thread):
    """Watches a run at a node to its end; `frames` has what came."""

    def __init__(self, node: Node, run_id: str, query: str = "") -> None:
        super().__init__(daemon=True)
        self.frames: list[Frame] = []
        self._url = f"{node.url}/v1/runs/{run_id}/attach{query}"
        self.start()

    def run(self) -> None:
        try:
            with ask(self._url, seconds=60) as answer:
                for frame in frames_in(answer):
                    self.frames.append(frame)
        except (OSError, HTTPException):
            return  # the node was killed

    @property
    def text(self) -> str:
        """What a viewer shows: an epoch that restarts clears it."""
        text = ""
        for frame in list(self.frames):
            if frame.name == "epoch" and frame.data["reason"] == "restarted":
                text = ""
            elif frame.name == "chunk":
                text += frame.data["delta"].get("content") or ""
        return text

    @property
    def epochs(self) -> list[str]:
        """Reasons of the epochs behind the first."""
        return [f.data["reason"] for f in self.frames if f.name == "epoch" and f.data["epoch"] > 1]

    @property
    def end(self) -> dict[str, Any] | None:
        """What the last event says."""
        return self.frames[-1].data if self.frames and self.frames[-1].name == "end" else None

    def finish(self) -> "Viewer":
        """Wait for the end."""
        self.join(60)
        assert self.end is not None, self.frames[-3:]
        return self


def frames_in(answer: Any) -> Iterator[Frame]:
    """Yield the events of a stream."""
    fields: dict[str, str] = {}
    for line in answer:
        text = line.decode().rstrip("\n")
        if text.startswith(":"):
            continue
        if text:
            name, _, value = text.partition(": ")
            fields[name] = value
        elif fields:
            yield Frame(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}


def post(node: Node, path: str, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
    """Return status and body of a POST."""
    request = urllib.request.Request(
        node.url + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
        method="POST",
    )
    try:
        with ask(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.load(exc)


def make(node: Node, content: str = ANSWER, **headers: str) -> str:
    """Make a run and return its id."""
    status, body = post(node, "/v1/runs", {"model": MODEL, "messages": say(content)}, **headers)
    assert status == 202, body
    assert body["attach"] == f"/v1/runs/{body['id']}/attach"
    return str(body["id"])


def show(node: Node, run_id: str) -> dict[str, Any]:
    """Return a run as a node shows it."""
    run: dict[str, Any] = get_json(f"{node.url}/v1/runs/{run_id}")
    return run


def text_comes(node: Node, run_id: str, *, chunks: int = 5) -> None:
    """Wait until an answer has begun."""
    until(lambda: show(node, run_id)["text"].count("chunk-") >= chunks, "the answer has begun")


Start = Callable[..., Sequence[Node]]


@pytest.fixture
def start(mesh: Mesh) -> Start:
    """Starts nodes of one log, each with the same provider."""

    def start(count: int, mock: Mock, *, continuation: str = "none", log: str = "runs") -> Sequence[Node]:
        nodes = [mesh.node(f"node-{log}-{number}") for number in range(1, count + 1)]
        table = PROVIDER.format("mock", mock.url, continuation)
        for node in nodes:
            runs = f'[runs]\nlog = "sqlite:///{mesh.folder}/{log}.sqlite3"\nlease_seconds = {LEASE_SECONDS}\n'
            mesh.configure(node, providers={}, extra=runs + table)
            node.start()
        for node in nodes:
            node.wait_until_ready()
            until(node.ready, "it may own runs")
        return nodes

    return start


def test_every_viewer_gets_the_whole_answer_from_the_log(mesh: Mesh, start: Start) -> None:
    owner, other = start(2, mesh.mock("mock"))

    run_id = make(owner)
    viewers = [Viewer(node, run_id).finish() for node in (owner, other)]

    run = show(other, run_id)
    assert (run["status"], run["owner"], run["epoch"], run["takeovers"]) == ("completed", owner.name, 1, 0)
    assert run["text"] == chunks(CHUNKS)
    for viewer in viewers:
        assert viewer.text == chunks(CHUNKS)
        assert [f.data["index"] for f in viewer.frames if f.name == "chunk"] == list(range(1, CHUNKS + 2))
        assert viewer.end == {
            "status": "completed",
            "reason": "stop",
            "final_seq": run["last_seq"],
            "usage": run["usage"],
        }


@pytest.mark.parametrize(("continuation", "reason"), [("prefill", "continued"), ("none", "restarted")])
def test_sigkill_of_the_owner(mesh: Mesh, start: Start, continuation: str, reason: str) -> None:
    owner, *others = start(3, mesh.mock("mock"), continuation=continuation)
    run_id = make(owner, LONG)
    viewers = [Viewer(node, run_id) for node in others]
    text_comes(owner, run_id)

    killed_at = time.monotonic()
    owner.kill()
    for viewer in viewers:
        viewer.finish()

    for viewer in viewers:
        assert (viewer.text, viewer.epochs) == (chunks(CHUNKS), [reason])
        (taken,) = (f for f in viewer.frames if f.name == "epoch" and f.data["epoch"] == 2)
        assert taken.at - killed_at < LEASE_SECONDS + 2
    numbers = [f.data["index"] for f in viewers[0].frames if f.name == "chunk"]
    last_generation = numbers if reason == "continued" else numbers[numbers.index(1, 1) :]
    assert last_generation == list(range(1, CHUNKS + 2))
    late = Viewer(others[0], run_id).finish()
    assert (late.text, late.frames[0].name) == (chunks(CHUNKS), "epoch")
    assert show(others[0], run_id)["takeovers"] == 1


def test_sigterm_of_the_owner_moves_its_run_within_a_second(mesh: Mesh, start: Start) -> None:
    owner, other = start(2, mesh.mock("mock"))
    run_id = make(owner, LONG)
    viewer = Viewer(other, run_id)
    text_comes(other, run_id)

    asked_at = time.monotonic()
    owner.ask_to_end()
    viewer.finish()

    (taken,) = (f for f in viewer.frames if f.name == "epoch" and f.data["epoch"] == 2)
    assert taken.at - asked_at < 1.0
    assert (viewer.text, show(other, run_id)["takeovers"]) == (chunks(CHUNKS), 0)
    assert owner.wait() == 0


def test_nothing_of_a_zombie_stands_behind_the_newer_claim(mesh: Mesh, start: Start) -> None:
    owner, other = start(2, mesh.mock("mock"))
    run_id = make(owner, LONG)
    text_comes(other, run_id)

    owner.signal(signal.SIGSTOP)
    until(lambda: show(other, run_id)["owner"] == other.name, "the other takes over")
    owner.signal(signal.SIGCONT)
    viewer = Viewer(other, run_id, "?history=all").finish()

    assert (viewer.text, viewer.epochs) == (chunks(CHUNKS), ["restarted"])
    (taken,) = (at for at, f in enumerate(viewer.frames) if f.name == "epoch" and f.data["epoch"] == 2)
    behind = [f.data["index"] for f in viewer.frames[taken:] if f.name == "chunk"]
    assert behind == list(range(1, CHUNKS + 2))
    until(lambda: fenced(owner) == 1, "the zombie says that it was fenced")
    until(owner.ready, "the zombie goes on as another instance")


def fenced(node: Node) -> float:
    """Return how many runs a node lost to others."""
    with ask(f"{node.url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith("mesh_runs_fenced_total")).split()[-1])


@pytest.mark.parametrize("where", [0, 1])
def test_a_run_is_cancelled_from_any_node(mesh: Mesh, start: Start, where: int) -> None:
    mock = mesh.mock("mock")
    nodes = start(2, mock)
    run_id = make(nodes[0], LONG)
    viewer = Viewer(nodes[1], run_id)
    text_comes(nodes[1], run_id)

    status, body = post(nodes[where], f"/v1/runs/{run_id}/cancel", {})
    viewer.finish()

    assert (status, body["cancelled"]) == (202, True)
    assert viewer.end is not None and viewer.end["status"] == "cancelled"
    until(lambda: mock.calls()["open"] == 0, "the provider's request is closed")
    assert post(nodes[1 - where], f"/v1/runs/{run_id}/cancel", {}) == (
        200,
        {"id": run_id, "cancelled": False, "status": "cancelled"},
    )


def test_attaching_resumes_behind_what_is_known(mesh: Mesh, start: Start) -> None:
    (node,) = start(1, mesh.mock("mock"))
    run_id = make(node, "many:5")
    whole = Viewer(node, run_id).finish().frames

    by_query = Viewer(node, run_id, "?starting_after=4").finish().frames
    request = urllib.request.Request(f"{node.url}/v1/runs/{run_id}/attach?starting_after=1")
    request.add_header("Last-Event-ID", "4")
    with ask(request) as answer:
        by_header = list(frames_in(answer))

    assert by_query == by_header == [frame for frame in whole if frame.seq > 4]


def test_a_detached_call_is_a_plain_answer_that_outlives_its_client(mesh: Mesh, start: Start) -> None:
    owner, other = start(2, mesh.mock("mock"))
    with client_of(owner) as client:
        streamed = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=say("many:5"), stream=True, extra_headers={"X-Mesh-Detach": "1"}
        )
        whole = client.chat.completions.create(
            model=MODEL, messages=say("many:5"), extra_headers={"X-Mesh-Detach": "1"}
        )
        left = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=say(ANSWER), stream=True, extra_headers={"X-Mesh-Detach": "1"}
        )
        left.parse().close()

        assert text_of(streamed.parse()) == chunks(5)
        assert whole.choices[0].message.content == chunks(5)
    assert whole.usage is not None and whole.usage.completion_tokens == 5
    assert show(other, streamed.headers["X-Mesh-Run-Id"])["status"] == "completed"
    viewer = Viewer(other, left.headers["X-Mesh-Run-Id"]).finish()
    assert viewer.text == chunks(CHUNKS)


def test_the_same_idempotency_key_is_the_same_run_on_every_node(mesh: Mesh, start: Start) -> None:
    one, other = start(2, mesh.mock("mock"))

    first = make(one, "many:3", **{"Idempotency-Key": "k"})
    again = make(other, "many:3", **{"Idempotency-Key": "k"})
    status, body = post(
        one, "/v1/runs", {"model": MODEL, "messages": say("many:4")}, **{"Idempotency-Key": "k"}
    )

    assert first == again
    assert (status, body["error"]["code"]) == (409, "idempotency_conflict")


def alive(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes whose process is there."""
    return [node for node in nodes if node.exit_code() is None]


def owner_but(killed: Sequence[str], node: Node, run_id: str) -> str:
    """Return who executes a run, "" when that is nobody, or one that was killed."""
    run = show(node, run_id)
    is_cared_for = run["status"] == "running" and run["owner"] not in killed
    return str(run["owner"]) if is_cared_for else ""


def test_a_run_survives_that_every_node_is_killed_in_turn(mesh: Mesh, start: Start) -> None:
    nodes = start(3, mesh.mock("mock"), continuation="prefill")
    by_name = {node.name: node for node in nodes}
    run_id = make(nodes[0], "slow:150x150")
    killed: list[str] = []
    for _ in nodes:
        owner = until(partial(owner_but, killed, alive(nodes)[0], run_id), "somebody goes on")
        by_name[owner].kill()
        killed.append(owner)
        if len(killed) == len(nodes) - 1:
            by_name[killed[0]].start_and_wait()  # a mesh of none goes on with nothing

    viewer = Viewer(by_name[killed[0]], run_id).finish()

    assert (viewer.text, viewer.end and viewer.end["status"]) == (chunks(150), "completed")
    assert show(by_name[killed[0]], run_id)["takeovers"] == 3
