"""Many people and scripts drain and give back at once: one order after the other, each of them on record."""

import itertools
import json
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import pytest

from tests.e2e.conftest import Measured
from tests.e2e.harness import Node, until
from tests.e2e.room import Answer, Room
from tests.e2e.visitor import Shown, Visitor

pytestmark = pytest.mark.e2e

SECONDS = float(os.environ.get("MESH_STORM_SECONDS", "15"))
OPERATORS = ("alice", "dora")
SCRIPTS = ("deployer", "autoscaler", "janitor")
DRAIN = "nodes/node-a/drain"
AT_ONCE = 50  # requests for each of two nodes
ACCEPTED = (200, 202)
REFUSED = (400, 409, 412, 422)
BUSY = 503


class Attempt(NamedTuple):
    """What somebody tried; `generation` is 0 when it was refused, `changed` whether that was a new order."""

    who: str
    reason: str
    status: int
    generation: int
    changed: bool


Try = Callable[[str], tuple[int, int, bool]]
"""Makes one attempt with a reason: status, generation, changed."""


@pytest.fixture(scope="module")
def pair(room: Room) -> tuple[Node, Node]:
    """node-a and node-b, each with a provider of its own that has the same model."""
    node_a, node_b, _, _ = room.pair()
    return node_a, node_b


@pytest.fixture
def nodes(room: Room, pair: tuple[Node, Node]) -> Iterator[tuple[Node, Node]]:
    """Two nodes that serve, and serve again behind the test."""
    yield pair
    for node in pair:
        room.undrain(node.name)


class Operator:
    """Drains, changes and gives back by the page's forms, now and then from a screen that is stale."""

    def __init__(self, url: str, name: str) -> None:
        self._visitor = Visitor(url).sign_in(name)
        self._seen = 0  # the generation that its screen shows

    def ways(self) -> list[Try]:
        return [self._drain, self._undrain, self._change, self._say_too_little]

    def _drain(self, reason: str) -> tuple[int, int, bool]:
        form = {"reason": reason, "deadline": "", "expires": "", "sticky": "1"}
        return self._taken(self._visitor.act("/nodes/node-a/drain/", form))

    def _change(self, reason: str) -> tuple[int, int, bool]:
        form = {"reason": reason, "deadline": "300", "expires": "", "generation": str(self._seen)}
        return self._taken(self._visitor.act("/nodes/node-a/drain/", form))

    def _undrain(self, reason: str) -> tuple[int, int, bool]:
        return self._taken(self._visitor.act("/nodes/node-a/undrain/", {"reason": reason}))

    def _say_too_little(self, reason: str) -> tuple[int, int, bool]:
        form = {"reason": "no", "deadline": "", "expires": ""}
        return self._taken(self._visitor.act("/nodes/node-a/drain/", form))

    def _taken(self, shown: Shown) -> tuple[int, int, bool]:
        said = re.search(r"generation (\d+)\.<|nothing changed", shown.text)
        if shown.status != 200:
            return shown.status, 0, False
        assert said, shown.text
        self._seen = int(said[1] or self._seen)
        return 200, self._seen, said[1] is not None and "already" not in shown.text


class Script:
    """Drains and gives back by the API, in all of its ways, now and then with a condition that is stale."""

    def __init__(self, room: Room, name: str, dice: random.Random) -> None:
        self._room = room
        self._name = name
        self._dice = dice
        self._seen = 0

    def ways(self) -> list[Try]:
        return [self._put, self._post, self._cancel, self._delete, self._make_no_sense]

    def _put(self, reason: str) -> tuple[int, int, bool]:
        body = {"reason": reason, "deadline_seconds": 300, "sticky": self._dice.random() < 0.5}
        return self._send("PUT", DRAIN, body)

    def _post(self, reason: str) -> tuple[int, int, bool]:
        return self._send("POST", DRAIN, {"reason": reason})

    def _cancel(self, reason: str) -> tuple[int, int, bool]:
        return self._send("POST", DRAIN, {"action": "cancel", "reason": reason})

    def _delete(self, reason: str) -> tuple[int, int, bool]:
        return self._taken(
            self._room.send("DELETE", f"{DRAIN}?reason={reason.replace(' ', '+')}", program=self._name)
        )

    def _make_no_sense(self, reason: str) -> tuple[int, int, bool]:
        return self._send("POST", DRAIN, {"reason": reason, "action": "explode"})

    def _send(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, int, bool]:
        condition = {"If-Match": f'"{self._seen}"'} if self._dice.random() < 0.3 else {}
        raw = json.dumps(body).encode()
        sent = raw if self._dice.random() < 0.5 else (raw[:7], raw[7:])
        return self._taken(self._room.send(method, path, sent, program=self._name, headers=condition))

    def _taken(self, answer: Answer) -> tuple[int, int, bool]:
        if answer.status not in ACCEPTED:
            return answer.status, 0, False
        self._seen = answer.body["generation"]
        return answer.status, self._seen, answer.body["changed"]


def keep_on(who: str, ways: list[Try], dice: random.Random, *, ends_at: float) -> list[Attempt]:
    """Try at random until the time is over."""
    attempts: list[Attempt] = []
    while time.monotonic() < ends_at:
        reason = f"{who} for the {len(attempts)}th time"
        attempts.append(Attempt(who, reason, *dice.choice(ways)(reason)))
    return attempts


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_a_storm_of_drains_leaves_the_last_order_and_one_entry_for_each_attempt(
    room: Room, nodes: tuple[Node, Node], measured: Measured
) -> None:
    node_a, _ = nodes
    before = room.drain_of("node-a")["generation"]
    begin_n = room.audit()[0]["n"]
    everybody = ways_of_everybody(room)

    ends_at = time.monotonic() + SECONDS
    with ThreadPoolExecutor(len(everybody)) as threads:
        storms = [
            threads.submit(keep_on, who, ways, random.Random(who), ends_at=ends_at)
            for who, ways in everybody.items()
        ]
        heard = generations_heard(node_a, storms)
    attempts = [attempt for storm in storms for attempt in storm.result()]
    until(lambda: is_observed(room), "node-a does what was asked last")

    measured("attempts", len(attempts), "")
    measured("new generations", room.drain_of("node-a")["generation"] - before, "")
    assert {attempt.status for attempt in attempts} <= {*ACCEPTED, *REFUSED}
    entries = [entry for entry in room.entries(since=begin_n) if entry["actor_name"] in everybody]
    entries = [entry for entry in entries if entry["action"] in ("drain", "undrain")]
    assert Counter(entry["actor_name"] for entry in entries) == Counter(each.who for each in attempts)
    done = {entry["reason"]: entry["generation"] for entry in entries if entry["outcome"] == "done"}
    accepted = {each.reason: each for each in attempts if each.status in ACCEPTED}
    assert set(done) == set(accepted)
    ordered = sorted(done[reason] for reason, each in accepted.items() if each.changed)
    assert ordered == list(range(before + 1, before + 1 + len(ordered)))
    assert heard == sorted(heard)
    last = next(entry for entry in reversed(entries) if entry["outcome"] == "done")
    asked = room.drain_of("node-a")
    assert (asked["generation"], asked["observed_generation"]) == (before + len(ordered),) * 2
    assert (asked["drain"] is not None) == (last["action"] == "drain")
    assert node_a.ready() == (last["action"] == "undrain")
    assert room.ask("audit/verify", program="auditor")["ok"] is True
    assert "none changed" in room.dashboard.manage("verify_audit")


def ways_of_everybody(room: Room) -> dict[str, list[Try]]:
    """Return what each of them may try."""
    people = {name: Operator(room.dashboard.url, name).ways() for name in OPERATORS}
    scripts = {name: Script(room, name, random.Random(name)).ways() for name in SCRIPTS}
    return people | scripts


def generations_heard(node: Node, storms: list[Any]) -> list[int]:
    """Return the generations of the drains that a node does, one look after the other, while storms go on."""
    heard: list[int] = []
    while not all(storm.done() for storm in storms):
        drain = node.health().get("drain", {})
        heard += [drain["generation"]] if drain.get("generation") else []
    return heard


def is_observed(room: Room) -> bool:
    asked = room.drain_of("node-a")
    return bool(asked["observed_generation"] == asked["generation"])


def test_of_a_hundred_drains_of_the_last_two_healthy_nodes_at_once_one_is_accepted(
    room: Room, nodes: tuple[Node, Node]
) -> None:
    barrier = threading.Barrier(2 * AT_ONCE)
    begin_n = room.audit()[0]["n"]

    def drain(name: str) -> tuple[str, Answer]:
        barrier.wait()
        return name, until(partial(tried, room, name), f"{name} is answered for")[0]

    with ThreadPoolExecutor(2 * AT_ONCE) as threads:
        names = itertools.chain.from_iterable([node.name for node in nodes] for _ in range(AT_ONCE))
        answers = list(threads.map(drain, names))

    winners = [name for name, answer in answers if answer.status in ACCEPTED and answer.body["changed"]]
    assert len(winners) == 1
    for name, answer in answers:
        if name == winners[0]:
            assert answer.status in ACCEPTED
        else:
            assert answer.status == 409
            assert answer.body["blockers"]
    drained = {node.name: room.drain_of(node.name)["drain"] is not None for node in nodes}
    assert drained == {node.name: node.name in winners for node in nodes}
    outcomes = Counter(
        entry["outcome"] for entry in room.entries(since=begin_n) if entry["action"] == "drain"
    )
    assert outcomes == {"done": AT_ONCE, "refused": AT_ONCE}


def tried(room: Room, name: str) -> list[Answer]:
    """Ask a node to drain; nothing when the database was too busy, which is told and changes nothing."""
    answer = room.send("POST", f"nodes/{name}/drain", b'{"reason": "mine"}', program="deployer")
    return [] if answer.status == BUSY and "Retry-After" in answer.headers else [answer]
