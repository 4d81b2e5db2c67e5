"""The ledger: what nodes recorded against what a dashboard's database has, after everything has gone wrong.

`Journal` is what a node had on disk (`tests.e2e.journaled`), `Books` what the database has, and
`discrepancies` what of the one isn't in the other, exactly once or counted as dropped.
"""

import http.client
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.e2e.harness import Mock, Node, Process
from tests.e2e.room import Room

SECONDS = float(os.environ.get("MESH_LEDGER_SECONDS", "4"))
KINDS = ("trace", "transition", "drain_step", "histogram")
CLIENTS = 3  # for each node
PAUSE_SECONDS = 0.01
FLAP_SECONDS = 0.1
FAULTS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"http": 503},
    {"http": 429, "retry_after": 0},
    {"fail_after": 0},
)
IMPATIENT = "[breaker]\nbackoff_seconds = 0.1\n[probe]\ninterval_seconds = 0.5\n"
SETTLE_SECONDS = 90.0

Read = Callable[[str], Sequence[Sequence[Any]]]
"""Answers an SQL query."""


class Journal:
    """What a node had on disk, by kind; `maybe` is what it was writing when it was killed.

    `dropped` counts what it couldn't write, and noted as a gap.
    """

    def __init__(self, path: Path) -> None:
        self.written: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        self.maybe: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        self.dropped: Counter[str] = Counter()
        begun: list[dict[str, Any]] = []
        for text in path.read_text().splitlines():
            line = json.loads(text)
            self._keep(begun, self.maybe if "begun" in line else self.written)
            begun = line.get("begun", [])
        self._keep(begun, self.maybe)

    def _keep(self, entries: list[dict[str, Any]], where: dict[str, list[Any]]) -> None:
        for entry in entries:
            if entry["kind"] == "gap":
                self.dropped.update(entry["dropped"])
            elif entry["kind"] == "histogram":
                where["histogram"].append(entry["count"])
            elif entry["kind"] == "trace":
                where["trace"].append(entry["id"])
            elif entry["kind"] in KINDS:
                at, *rest = entry["id"]
                where[entry["kind"]].append((_stamp(at), *rest))


class Books:
    """What the database has of a node."""

    def __init__(self, read: Read, node: str) -> None:
        self._read = read
        self._of = f"node_id = (SELECT id FROM dashboard_node WHERE name = '{node}')"
        self.traces = Counter(
            row[0] for row in read(f"SELECT trace_id FROM dashboard_trace WHERE {self._of}")
        )
        self.transitions = [
            (_stamp(at), *names, count)
            for at, *names, count in read(
                f"SELECT at, key, from_state, to_state, count FROM dashboard_transition WHERE {self._of}"
            )
        ]
        self.steps = Counter(
            (_stamp(at), step, generation)
            for at, step, generation in read(
                "SELECT s.at, s.step, s.generation FROM dashboard_drainstep s"
                f" JOIN dashboard_drain d ON s.drain_id = d.id WHERE s.source = 'node' AND d.{self._of}"
            )
        )
        counted = read(f"SELECT coalesce(sum(count), 0) FROM dashboard_minuterollup WHERE {self._of}")
        self.rolled_up = int(counted[0][0])
        self.dropped: Counter[str] = Counter()
        self.refused = 0
        for dropped, refused in read(f"SELECT dropped, refused FROM dashboard_spoolmark WHERE {self._of}"):
            self.dropped.update(dropped if isinstance(dropped, dict) else json.loads(dropped))
            self.refused += refused


def _stamp(at: str | datetime) -> datetime:
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def discrepancies(journal: Journal, books: Books) -> list[str]:
    """Return what doesn't agree, one sentence each."""
    found = [f"{trace} is stored {times} times" for trace, times in books.traces.items() if times > 1]
    if books.refused:
        found.append(f"{books.refused} items were refused")
    found += _traces(journal, books) + _transitions(journal, books) + _steps(journal, books)
    if not books.dropped["histogram"]:
        least = sum(journal.written["histogram"])
        found += _between("durations", books.rolled_up, least, least + sum(journal.maybe["histogram"]))
    return found


def _traces(journal: Journal, books: Books) -> list[str]:
    written, maybe = set(journal.written["trace"]), set(journal.maybe["trace"])
    missing = len(written - set(books.traces)) + journal.dropped["trace"]
    strange = set(books.traces) - written - maybe
    return [
        *_between(
            "missing traces", books.dropped["trace"], missing, missing + len(maybe - set(books.traces))
        ),
        *([f"traces that no node recorded: {sorted(strange)[:3]}"] if strange else []),
    ]


def _transitions(journal: Journal, books: Books) -> list[str]:
    least = len(journal.written["transition"])
    stored = sum(count for *_, count in books.transitions)
    whole = Counter(tuple(names) for *names, count in books.transitions if count == 1)
    twice = whole - Counter([*journal.written["transition"], *journal.maybe["transition"]])
    found = [f"transitions stored more often than recorded: {list(twice)[:3]}"] if twice else []
    if not books.dropped["transition"]:
        found += _between("transitions", stored, least, least + len(journal.maybe["transition"]))
    return found


def _steps(journal: Journal, books: Books) -> list[str]:
    """Steps of no drain, and acknowledgements of other orders, aren't kept as steps."""
    wanted = {step for step in journal.written["drain_step"] if step[2] and step[1] != "acknowledged"}
    missing = wanted - set(books.steps)
    twice = [step for step, times in books.steps.items() if times > 1 and step[1] != "in_flight"]
    found = [f"steps stored twice: {twice[:3]}"] if twice else []
    if len(missing) > books.dropped["drain_step"]:
        found.append(f"steps missing: {sorted(missing)[:3]}")
    return found


def _between(what: str, stored: int, least: int, most: int) -> list[str]:
    if least <= stored <= most:
        return []
    return [f"{what}: {stored} in the database, {least} to {most} recorded"]


def assert_rolled_up(journal: Journal, books: Books) -> None:
    """Compare roll-ups with traces, of a node that was never killed: all that it counted was written."""
    assert not books.dropped["drain_step"]
    calls = len(journal.written["trace"]) + journal.dropped["trace"]
    if books.dropped["histogram"]:  # a small spool and a long absence
        assert books.rolled_up < calls
    else:
        assert books.rolled_up == calls


def merged(journal: Journal, books: Books) -> int:
    """Return how many transitions have no row of their own."""
    return len(journal.written["transition"]) - len(books.transitions)


def until_settled(journals: Mapping[str, Path], read: Read) -> dict[str, tuple[Journal, Books]]:
    """Wait until every node's journal agrees with the database, and return both; fails with what doesn't."""
    seen: dict[str, tuple[Journal, Books]] = {}
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        seen = {name: (Journal(path), Books(read, name)) for name, path in journals.items()}
        wrong = {name: discrepancies(*both) for name, both in seen.items()}
        if not any(wrong.values()):
            return seen
        assert time.monotonic() < deadline, wrong
        time.sleep(0.2)


def journaled_node(room: Room, name: str, *, items: int = 0) -> tuple[Node, Path]:
    """Return an enrolled node that keeps a journal, and the journal; `items` bounds its spool."""
    path = room.mesh.folder / f"{name}.journal"
    bound = {"NODE_SPOOL_ITEMS": str(items)} if items else {}
    node = room.node(name, env={"NODE_JOURNAL": str(path)} | bound)
    node.argv[node.argv.index("meshcore")] = "tests.e2e.journaled"
    return node, path


@contextmanager
def traffic(nodes: Sequence[Node], mocks: Sequence[Mock], chance: random.Random) -> Iterator[None]:
    """Call the nodes, whose providers flap, while the context lasts; the providers work behind it."""
    stop = threading.Event()
    works = [threading.Thread(target=_call_on, args=(node, stop)) for node in nodes for _ in range(CLIENTS)]
    works.append(threading.Thread(target=_flap, args=(mocks, stop, random.Random(chance.random()))))
    for work in works:
        work.start()
    try:
        yield
    finally:
        stop.set()
        for work in works:
            work.join()
        for mock in mocks:
            mock.set_faults()


def _call_on(node: Node, stop: threading.Event) -> None:
    """Call after call, whatever comes of each: nodes die, and providers fail."""
    number = 0
    while not stop.wait(PAUSE_SECONDS):
        number += 1
        body = {"model": "mock-model", "stream": number % 2 == 0, "messages": SAID}
        connection = http.client.HTTPConnection(node.url.removeprefix("http://"), timeout=10)
        with suppress(OSError, http.client.HTTPException):
            connection.request(
                "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
            )
            connection.getresponse().read()
        connection.close()


SAID = [{"role": "user", "content": "slow:2x1"}]


def _flap(mocks: Sequence[Mock], stop: threading.Event, chance: random.Random) -> None:
    while not stop.wait(FLAP_SECONDS):
        chance.choice(mocks).set_faults(**chance.choice(FAULTS))


def wreak(havoc: Sequence[Callable[[], None]], chance: random.Random) -> Counter[str]:
    """Let things go wrong at random for `SECONDS`, each at least once; returns what did, and how often."""
    done: Counter[str] = Counter()
    deadline = time.monotonic() + SECONDS
    waiting = chance.sample(list(havoc), len(havoc))
    while waiting or time.monotonic() < deadline:
        blow = waiting.pop() if waiting else chance.choice(havoc)
        blow()
        done[getattr(blow, "__name__", str(blow))] += 1
        time.sleep(chance.uniform(0.1, 0.6))
    return done


def killed(process: Process, chance: random.Random) -> None:
    """Kill a process, and start it again a moment later."""
    process.kill()
    time.sleep(chance.uniform(0.0, 1.0))
    process.start()


def ended_and_emptied(nodes: Sequence[Node]) -> None:
    """End nodes as an operator does: nothing is in memory alone then. Start them again, to tell of it."""
    for node in nodes:
        node.wait_until_ready()  # who was killed a moment ago listens to nobody yet
        node.ask_to_end()
    for node in nodes:
        assert node.wait() == 0, node.log()
        node.start()
    for node in nodes:
        node.wait_until_ready()
