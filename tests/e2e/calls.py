"""Clients of a node: the real `openai` client, one that reads a stream, and traffic that keeps a ledger."""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from tests.e2e.harness import Node, until

MODEL = "mock-model"
CALL_SECONDS = 60.0


class Call(NamedTuple):
    """An answer as a client saw it; `seconds` until it was whole."""

    text: str
    trace_id: str
    routed_via: str
    attempts: int
    seconds: float


def client_of(node: Node) -> openai.OpenAI:
    """Return a client that tries once."""
    return openai.OpenAI(base_url=f"{node.url}/v1", api_key="none", max_retries=0, timeout=CALL_SECONDS)


def say(content: str) -> list[ChatCompletionMessageParam]:
    """Return the messages of somebody who says `content`."""
    return [{"role": "user", "content": content}]


def call(node: Node, content: str = "many:2", *, stream: bool = False, model: str = MODEL) -> Call:
    """Make one call; raises openai's errors."""
    with client_of(node) as client:
        return call_by(client, content, stream=stream, model=model)


def call_by(client: openai.OpenAI, content: str, *, stream: bool, model: str = MODEL) -> Call:
    """Make one call with a client."""
    began = time.monotonic()
    answer = client.chat.completions.with_raw_response.create(
        model=model, messages=say(content), stream=stream
    )
    parsed = answer.parse()
    text = text_of(parsed) if isinstance(parsed, openai.Stream) else parsed.choices[0].message.content or ""
    return Call(
        text=text,
        trace_id=answer.headers["X-Mesh-Trace-Id"],
        routed_via=answer.headers["X-Mesh-Routed-Via"],
        attempts=int(answer.headers["X-Mesh-Attempts"]),
        seconds=time.monotonic() - began,
    )


def text_of(stream: Iterable[ChatCompletionChunk]) -> str:
    """Read a stream to its end and return its text."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def chunks(count: int) -> str:
    """Return what a mock provider answers when it is asked for so many chunks."""
    return "".join(f"chunk-{number} " for number in range(1, count + 1))


class Reader(threading.Thread):
    """Reads a stream of a node to its end; `text` has what came so far, `heard_at` when (wall clock)."""

    def __init__(self, node: Node, content: str) -> None:
        super().__init__(daemon=True)
        self.text = ""
        self.routed_via = ""
        self.heard_at = 0.0
        self._node = node
        self._content = content

    def run(self) -> None:
        """Read."""
        with client_of(self._node) as client:
            answer = client.chat.completions.with_raw_response.create(
                model=MODEL, messages=say(self._content), stream=True
            )
            self.routed_via = answer.headers["X-Mesh-Routed-Via"]
            for chunk in answer.parse():
                self.text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                self.heard_at = time.time()


class Traffic:
    """One client for each node, call after call, every other one streamed, until stopped.

    `ledger` has every call that was answered, `failures` what clients noticed.
    """

    def __init__(self, nodes: Sequence[Node], *, content: str = "many:2") -> None:
        self.ledger: list[Call] = []
        self._content = content
        self._failures: list[openai.OpenAIError] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._go_on, args=(node,), daemon=True) for node in nodes]

    def __enter__(self) -> "Traffic":
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, whatever became of it."""
        self._stop.set()
        for thread in self._threads:
            thread.join(CALL_SECONDS)

    def wait_for(self, calls: int) -> None:
        """Wait until so many more calls were answered."""
        enough = len(self.ledger) + calls
        until(lambda: len(self.ledger) >= enough or self._failures, f"{calls} more calls")

    @property
    def failures(self) -> list[str]:
        """What went wrong for clients."""
        return [f"{type(each).__name__}: {each}" for each in self._failures]

    def _go_on(self, node: Node) -> None:
        with client_of(node) as client:
            number = 0
            while not self._stop.is_set():
                number += 1
                try:
                    self.ledger.append(call_by(client, self._content, stream=number % 2 == 0))
                except openai.OpenAIError as exc:
                    self._failures.append(exc)
