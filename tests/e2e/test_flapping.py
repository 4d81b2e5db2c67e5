"""10 000 calls over real sockets while providers flap: all are answered, and nothing is left behind."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.calls import MODEL, call, chunks
from tests.e2e.harness import Mesh, Mock, Node, ask, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

CALLS = 10_000
CLIENTS = 32
WORDS = 3
ASKED = f"slow:{WORDS}x0"
FLAP_SECONDS = 0.05
FAULTS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"http": 503},
    {"http": 429, "retry_after": 0},
    {"fail_after": 0},
    {"fail_after": 2},
    {"err_after": 1},
)
PROVIDER = (
    '[[providers]]\nname = "{0.name}"\nbase_url = "{0.url}/v1"\nmodels = ["mock-model"]\n'
    'continuation = "prefill"\n'
)
IMPATIENT = "[breaker]\nbackoff_seconds = 0.1\n[probe]\ninterval_seconds = 0.5\n"


@pytest.fixture
def mocks(mesh: Mesh) -> list[Mock]:
    """Two providers for each node."""
    return [mesh.mock(name) for name in ("alpha", "beta", "gamma", "delta")]


@pytest.fixture
def twins(mesh: Mesh, mocks: list[Mock]) -> tuple[Node, Node]:
    """node-a, which is called, and its peer."""
    node_a, node_b = mesh.node("node-a"), mesh.node("node-b")
    for node, peer, own in ((node_a, node_b, mocks[:2]), (node_b, node_a, mocks[2:])):
        extra = IMPATIENT + "".join(map(PROVIDER.format, own))
        mesh.configure(node, providers={}, peers=[peer], extra=extra)
        node.start()
    for node in (node_a, node_b):
        node.wait_until_ready()
        until(partial(_knows_its_peer, node), f"{node.name} knows its peer")
    return node_a, node_b


class Clients:
    """Call after call, whole, streamed or left in the middle; `outcomes` has what became of each."""

    def __init__(self, http: aiohttp.ClientSession, url: str, chance: random.Random) -> None:
        self.outcomes: Counter[str] = Counter()
        self._http = http
        self._url = f"{url}/v1/chat/completions"
        self._chance = chance
        self._left = CALLS

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._go_on())

    async def _go_on(self) -> None:
        while self._left:
            self._left -= 1
            manner = self._chance.choice([self._whole, self._streamed, self._streamed, self._left_early])
            self.outcomes[await manner()] += 1

    async def _whole(self) -> str:
        async with self._post(stream=False) as answer:
            body = await answer.json()
        if answer.status == 200:
            return _judged(body["choices"][0]["message"]["content"])
        return _refused(body)

    async def _streamed(self) -> str:
        async with self._post(stream=True) as answer:
            if answer.status != 200:
                return _refused(await answer.json())
            events = [line async for line in _events(answer)]
        if events[-1] == "[DONE]":
            return _judged("".join(map(_text, events[:-1])))
        return _refused(json.loads(events[-1]))

    async def _left_early(self) -> str:
        async with self._post(stream=True) as answer:
            if answer.status != 200:
                return _refused(await answer.json())
            await answer.content.readany()
            answer.close()
        return "left"

    def _post(self, *, stream: bool) -> Any:
        body = {"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": ASKED}]}
        return self._http.post(self._url, json=body)


async def test_ten_thousand_calls_over_flapping_providers_are_all_answered(
    twins: tuple[Node, Node], mocks: list[Mock]
) -> None:
    asyncio.get_running_loop().set_debug(False)  # which takes longer than the calls do
    chance = random.Random(7)
    node_a, _ = twins

    async with aiohttp.ClientSession() as http:
        clients = Clients(http, node_a.url, chance)
        async with _flapping(http, mocks, chance):
            await clients.run()

    outcomes = clients.outcomes
    assert set(outcomes) <= {"answer", "error", "left"}
    assert min(outcomes["answer"], outcomes["error"], outcomes["left"]) > 0
    assert outcomes.total() == CALLS
    for node in twins:
        until(partial(_is_at_rest, node), f"nothing is in flight on {node.name}")
    for mock in mocks:
        until(lambda mock=mock: mock.calls()["open"] == 0, f"nothing is open at {mock.name}")
    counted = {str(outcome): count for outcome, count in _counts(node_a, "mesh_calls", "outcome").items()}
    assert sum(counted.values()) == CALLS
    assert outcomes["answer"] <= counted["ok"] <= outcomes["answer"] + outcomes["left"]
    until(lambda: "open" not in _states(twins), "every breaker takes a trial")
    for mock in mocks:
        assert call(node_a, ASKED, model=f"{mock.name}/{MODEL}").text == chunks(WORDS)
    assert _states(twins) == {"closed"}  # a lost permit would have kept the trial away


@asynccontextmanager
async def _flapping(
    http: aiohttp.ClientSession, mocks: Sequence[Mock], chance: random.Random
) -> AsyncIterator[None]:
    """Let the providers fail at random while the context lasts, and work behind it."""

    async def flap() -> None:
        while True:
            faults = chance.choice(FAULTS)
            await _set_faults(http, chance.choice(mocks), faults)
            await asyncio.sleep(FLAP_SECONDS)

    task = asyncio.create_task(flap())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])
        for mock in mocks:
            await _set_faults(http, mock, {})


async def _set_faults(http: aiohttp.ClientSession, mock: Mock, faults: dict[str, Any]) -> None:
    async with http.post(f"{mock.url}/_faults", data=json.dumps(faults)) as answer:
        assert answer.status == 200


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for line in answer.content:
        if line.startswith(b"data: "):
            yield line.removeprefix(b"data: ").strip().decode()


def _text(event: str) -> str:
    choices = json.loads(event)["choices"]
    return (choices[0]["delta"].get("content") or "") if choices else ""


def _judged(text: str) -> str:
    return "answer" if text == chunks(WORDS) else f"wrong answer {text!r}"


def _refused(body: dict[str, Any]) -> str:
    return "error" if body["error"]["message"] and body["error"]["code"] else f"unclear error {body}"


def _knows_its_peer(node: Node) -> bool:
    return any(key.startswith("node:") for key in node.health()["providers"])


def _is_at_rest(node: Node) -> bool:
    return _counts(node, "mesh_node_in_flight_requests", "node") == {node.name: 0.0}


def _states(nodes: Sequence[Node]) -> set[str]:
    """Return the states of the breakers of providers; that of an idle peer waits for its next call."""
    return {
        breaker["state"]
        for node in nodes
        for key, breaker in node.health()["providers"].items()
        if not key.startswith("node:")
    }


def _counts(node: Node, family: str, label: str) -> Counter[str]:
    """Return what a node counts of `family`, by one of its labels."""
    with ask(f"{node.url}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
        found = [each for each in families if each.name == family]
    counts: Counter[str] = Counter()
    for sample in found[0].samples:
        if not sample.name.endswith("_created"):
            counts[sample.labels[label]] += sample.value  # type: ignore[assignment]  # counts are floats there
    return counts
