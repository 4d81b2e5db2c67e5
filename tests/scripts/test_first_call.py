"""The call that `script/server --check` makes, against a real server that answers what each test says."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from script import first_call
from script.first_call import Answer, CallFailed

MODELS = {"data": [{"id": "llama"}, {"id": "other"}]}
CHAT = {"model": "llama-3", "choices": [{"message": {"content": "yes"}}]}


class FarSide(ThreadingHTTPServer):
    """Answers each path with the next of its (status, body), the last one for ever; keeps what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: list[Any] = []


class Handler(BaseHTTPRequestHandler):
    server: FarSide

    def do_GET(self) -> None:
        answers = self.server.answers.get(self.path, [(404, {"title": "Not Found"})])
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Mesh-Routed-Via", "node-b")
        self.send_header("X-Mesh-Trace-Id", "t-1")
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def far_side() -> Iterator[FarSide]:
    with FarSide() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_first_model_listed_is_asked_and_the_headers_say_who_answered(far_side: FarSide) -> None:
    far_side.answers = {"/v1/models": [(200, MODELS)], "/v1/chat/completions": [(200, CHAT)]}

    answer = first_call.call(far_side.url, prompt="well?")

    assert answer == Answer(model="llama-3", text="yes", routed_via="node-b", trace_id="t-1")
    assert far_side.asked == [{"model": "llama", "messages": [{"role": "user", "content": "well?"}]}]


def test_a_node_without_a_model_is_an_error(far_side: FarSide) -> None:
    far_side.answers = {"/v1/models": [(200, {"data": []})]}

    with pytest.raises(CallFailed, match="lists no model"):
        first_call.call(far_side.url, prompt="well?")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ((503, {"error": {"code": "no_healthy_provider"}}), "answered 503: .*no_healthy_provider"),
        ((200, b"<html>"), "Expecting value"),
    ],
)
def test_an_answer_that_is_none_is_an_error_that_quotes_it(
    far_side: FarSide, answer: tuple[int, Any], complaint: str
) -> None:
    far_side.answers = {"/v1/models": [(200, MODELS)], "/v1/chat/completions": [answer]}

    with pytest.raises(CallFailed, match=complaint):
        first_call.call(far_side.url, prompt="well?")


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(CallFailed, match="refused"):
        first_call.call("http://127.0.0.1:9", prompt="well?")  # discard: nothing listens


def test_a_trace_is_waited_for(far_side: FarSide) -> None:
    pages = [(200, {"results": []}), (200, {"results": []}), (200, {"results": [{"outcome": "ok"}]})]
    far_side.answers = {"/api/v1/traces?trace_id=t-1": pages}

    assert first_call.wait_for_trace(far_side.url, token="msh", trace_id="t-1") == {"outcome": "ok"}


def test_a_trace_that_never_comes_is_an_error(far_side: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
    far_side.answers = {"/api/v1/traces?trace_id=t-1": [(200, {"results": []})]}
    monkeypatch.setattr(first_call, "TRACE_SECONDS", 0.1)

    with pytest.raises(CallFailed, match=r"no trace t-1 after 0\.1 s"):
        first_call.wait_for_trace(far_side.url, token="msh", trace_id="t-1")


@pytest.mark.parametrize(("status", "yes"), [(200, True), (503, False)])
def test_a_probe_says_yes_by_200_alone(far_side: FarSide, status: int, yes: bool) -> None:
    far_side.answers = {"/healthz": [(status, {})]}

    assert first_call.says_yes(f"{far_side.url}/healthz") is yes


def test_nobody_says_yes_where_nobody_listens() -> None:
    assert not first_call.says_yes("http://127.0.0.1:9/healthz")
