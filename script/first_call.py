"""One call through the mesh, as any OpenAI client makes it, and its trace in the dashboard."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

CALL_SECONDS = 30.0
TRACE_SECONDS = 15.0  # a spool is sent at once, and a reconnecting link needs a few seconds
POLL_SECONDS = 0.25
PROBE_SECONDS = 2.0
BODY_MAX_BYTES = 1 << 20


class CallFailed(Exception):
    """The mesh did not do what it should; the text says what was asked and what came."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client sees of its call."""

    model: str
    text: str
    routed_via: str
    trace_id: str


def call(node_url: str, *, prompt: str) -> Answer:
    """Ask the first model that the node at `node_url` lists. Raises CallFailed."""
    models, _ = _exchange(f"{node_url}/v1/models")
    if not models.get("data"):
        raise CallFailed(f"{node_url} lists no model")
    model = models["data"][0]["id"]
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    answer, headers = _exchange(f"{node_url}/v1/chat/completions", body=body)
    return Answer(
        model=answer["model"],
        text=answer["choices"][0]["message"]["content"],
        routed_via=headers.get("X-Mesh-Routed-Via", ""),
        trace_id=headers.get("X-Mesh-Trace-Id", ""),
    )


def wait_for_trace(dashboard_url: str, *, token: str, trace_id: str) -> dict[str, Any]:
    """Return the dashboard's record of the call as soon as it is there. Raises CallFailed."""
    url = f"{dashboard_url}/api/v1/traces?{urllib.parse.urlencode({'trace_id': trace_id})}"
    give_up_at = time.monotonic() + TRACE_SECONDS
    while time.monotonic() < give_up_at:
        page, _ = _exchange(url, token=token)
        if page["results"]:
            trace: dict[str, Any] = page["results"][0]
            return trace
        time.sleep(POLL_SECONDS)
    raise CallFailed(f"the dashboard has no trace {trace_id} after {TRACE_SECONDS:g} s")


def says_yes(probe_url: str) -> bool:
    """Whether a probe, such as /healthz or /readyz, is answered by 200."""
    try:
        with urllib.request.urlopen(probe_url, timeout=PROBE_SECONDS) as answer:  # noqa: S310 - our own server
            return bool(answer.status == 200)
    except OSError:
        return False


def _exchange(url: str, *, body: Any = None, token: str = "") -> tuple[dict[str, Any], Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 - our own server
    try:
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:  # noqa: S310 - our own server
            return json.loads(answer.read(BODY_MAX_BYTES)), answer.headers
    except urllib.error.HTTPError as exc:
        with exc:
            said = exc.read(500).decode(errors="replace")
        raise CallFailed(f"{url} answered {exc.code}: {said}") from exc
    except (OSError, ValueError) as exc:
        raise CallFailed(f"{url}: {exc}") from exc
