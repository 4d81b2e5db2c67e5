"""Whatever happens, an open page comes to show what a fresh one would: no cell is left behind by its keys.

Random changes go through the services. Each open page is pushed what the change feed's keys, and what the
clock announces, make it render; then it must show the cells of a page that is opened now. Ages that the
browser counts itself are left out.
"""

import re
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from dashboard import fragments, page_keys, runtime
from dashboard.models import DesiredState, Node, NodeLink, SpoolMark
from dashboard.selectors import changes
from dashboard.services import drain, health, ingest, link, nodes
from dashboard.services.actor import SYSTEM
from dashboard.services.health import Said
from meshcore.breaker import BreakerState
from meshcore.capability import parse_manifest
from meshcore.drain import ActiveWork, DrainInfo, DrainSource, InFlight, NodeState, Readout
from meshcore.frames import BreakerReport, Health, Hello, SpoolReport, Telemetry
from meshcore.run_events import RunStatus
from meshcore.run_reports import RunReport

NOON = datetime(2026, 3, 1, 12, 0, 20, 300_000, tzinfo=UTC)
NAMES = ("node-a", "node-b", "node-c")
KEYS = ("ollama", "groq", *(f"node:{name}" for name in NAMES[:2]))
RUNS = ("run-1", "run-2")
PAGES = (
    *("fleet", "providers", "drains", "runs"),
    *(f"node:{name}" for name in NAMES),
    f"run:{RUNS[0]}",
)
CELL = re.compile(r'(?=<(?:span|div) id="[^"]+"[^>]* hx-swap-oob="true")')
AGE = re.compile(r"(<time [^>]*>)[^<]*(</time>)|(was asked )[^<]* ago")
ODD = re.compile(r'(?<=class="cell) odd|<span class="unseen">, against the others</span>')
AGES_ALONE = ("c-strip-",)  # the last day of a breaker, up to the node's last word

pytestmark = pytest.mark.django_db


def cells(html: str) -> dict[str, str]:
    """Return cells by their ids, without ages."""
    found = (AGE.sub(r"\1\2\3", each) for each in CELL.split(html) if each)
    return {each.split('"', 2)[1]: each for each in found}


class OpenPage:
    """What a browser shows of a page; rows that come or go are fetched once it was told of them."""

    def __init__(self, name: str, now: datetime) -> None:
        self.name = name
        self._list_keys = page_keys.list_keys_of(name)
        self._told = False
        self._cells = cells(fragments.render_all(name, now))

    def push(self, keys: list[str], now: datetime) -> None:
        """Swap the cells of what changed."""
        self._told |= not self._list_keys.isdisjoint(keys)
        asked = page_keys.concerning(self.name, keys)
        for html in fragments.render(self.name, asked, now).values():
            self._cells |= {name: cell for name, cell in cells(html).items() if name in self._cells}

    def check(self, now: datetime, *, but_odd: bool) -> None:
        """Compare it with a fresh one, but for who stands against the others; then fetch the rows."""
        fresh = cells(fragments.render_all(self.name, now))
        both = [name for name in fresh if name in self._cells and not name.startswith(AGES_ALONE)]
        shown = {name: (self._cells[name], fresh[name]) for name in both}
        if but_odd:
            shown = {name: (ODD.sub("", old), ODD.sub("", new)) for name, (old, new) in shown.items()}
        old = {name: (was, new) for name, (was, new) in shown.items() if was != new}
        assert not old, f"{self.name} shows old cells, instead of the new"
        assert self._told or fresh.keys() == self._cells.keys(), f"{self.name} isn't told of rows"
        if self._told:
            self._cells, self._told = fresh, False


class Mesh(RuleBasedStateMachine):
    """Nodes come, speak, fall silent and go, while pages are open."""

    def __init__(self) -> None:
        super().__init__()
        self._undo = transaction.atomic()
        self._undo.__enter__()
        self.now = NOON
        self._no = 0
        self._spool = SpoolReport()
        self._said: dict[str, Health] = {}
        self._silent: set[str] = set()
        self._gone = False  # whether breakers are: that may leave another's alone against the others
        for name in NAMES:
            nodes.add(name=name, actor=SYSTEM, now=self.now)
            self._hello(name)
            self._say(name, full=True, breakers=tuple(BreakerReport(key=k, state="closed") for k in KEYS[:2]))
        self._cursor = changes.latest_id()
        self._looks = changes.looks(now=self.now)
        self.pages = [OpenPage(name, self.now) for name in PAGES]

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self._undo.__exit__(None, None, None)

    @rule(name=st.sampled_from(NAMES))
    def come(self, name: str) -> None:
        """A node connects."""
        self._hello(name)
        self._silent.discard(name)
        self._feed()

    @rule(name=st.sampled_from(NAMES), idle=st.booleans())
    def go(self, name: str, idle: bool) -> None:
        """A socket closes, on purpose or not."""
        node, connection_no = self._connection(name)
        if idle:
            link.go_idle(node=node, connection_no=connection_no, now=self.now)
        link.close_connection(node=node, connection_no=connection_no, now=self.now)
        self._silent.add(name)
        self._feed()

    @rule(name=st.sampled_from(NAMES))
    def fall_silent(self, name: str) -> None:
        """A node says nothing of itself until it comes again, or something changes."""
        self._silent.add(name)

    @rule(name=st.sampled_from(NAMES), state=st.sampled_from(NodeState), problem=st.booleans())
    def turn(self, name: str, state: NodeState, problem: bool) -> None:
        """A node is in another state, and acts on what is asked of it."""
        desired = DesiredState.objects.get(node__name=name)
        away = state in (NodeState.DRAINING, NodeState.DRAINED)
        info = (
            DrainInfo(source=DrainSource.DESIRED, generation=desired.generation, by="ana") if away else None
        )
        self._say(
            name,
            state=state,
            accepting=state is NodeState.RUNNING,
            drain=info,
            safe_to_stop=state is NodeState.DRAINED,
            observed_generation=desired.generation,
            problems=("aliases: expected a table",) if problem else (),
        )
        self._feed()

    @rule(name=st.sampled_from(NAMES), calls=st.integers(0, 3), edge=st.integers(0, 1))
    def work(self, name: str, calls: int, edge: int) -> None:
        """A node has other work."""
        active = tuple(ActiveWork(id=f"w{n}", kind="call", age_seconds=0.0) for n in range(calls))
        flight = InFlight(calls=calls, total=calls, at_start=3)
        self._say(name, in_flight=flight, edge=edge, active_work=active)
        self._feed()

    @rule(
        name=st.sampled_from(NAMES),
        states=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(BreakerState), max_size=2),
        full=st.booleans(),
    )
    def judge(self, name: str, states: dict[str, BreakerState], full: bool) -> None:
        """Breakers of a node change; with `full` the others are gone."""
        self._say(
            name,
            full=full,
            breakers=tuple(
                BreakerReport(key=key, state=state, last_error=f"{key} is {state}")
                for key, state in states.items()
            ),
        )
        self._feed()

    @rule(
        name=st.sampled_from(NAMES),
        runs=st.dictionaries(st.sampled_from(RUNS), st.sampled_from(RunStatus), max_size=2),
        epoch=st.integers(1, 3),
        more=st.integers(0, 1),
    )
    def tell_runs(self, name: str, runs: dict[str, RunStatus], epoch: int, more: int) -> None:
        """A node tells of runs, and how many it has no room for."""
        told = tuple(
            RunReport(run_id=run_id, status=status.value, epoch=epoch, chunks=epoch)
            for run_id, status in runs.items()
        )
        self._say(name, full=True, breakers=self._last(name).breakers, runs=told, runs_more=more)
        self._feed()

    @rule(name=st.sampled_from(NAMES), size=st.integers(0, 2), dropped=st.integers(0, 1))
    def spool(self, name: str, size: int, dropped: int) -> None:
        """A node gathers what it can't send."""
        self._say(name, spool=SpoolReport(size=size, dropped={"trace": dropped}))
        self._feed()

    @rule(name=st.sampled_from(NAMES), on=st.booleans())
    def order(self, name: str, on: bool) -> None:
        """Somebody drains a node, or gives it back."""
        node = Node.objects.get(name=name)
        if on:
            drain.request(node=node, actor=SYSTEM, override_guards=True, now=self.now)
        else:
            drain.cancel(node=node, actor=SYSTEM, now=self.now)
        self._feed()

    @rule(name=st.sampled_from(NAMES))
    def forget(self, name: str) -> None:
        """A node is forgotten, and another one gets its name."""
        node = Node.objects.get(name=name)
        nodes.forget(node=node, actor=SYSTEM, reason="gone", even_connected=True, now=self.now)
        self._feed()
        nodes.add(name=name, actor=SYSTEM, now=self.now)
        self._said.pop(name, None)
        self._hello(name)
        self._feed()

    @rule(
        name=st.sampled_from(NAMES),
        kinds=st.lists(st.sampled_from(["histogram", "transition", "run_end", "drain_step"]), max_size=3),
    )
    def tell(self, name: str, kinds: list[str]) -> None:
        """What happened at a node comes behind what it is now."""
        node, connection_no = self._connection(name)
        mark = SpoolMark.objects.get(node=node).hwm
        items = tuple(
            msgspec.Raw(msgspec.json.encode(self._item(kind, mark + n, name)))
            for n, kind in enumerate(kinds, 1)
        )
        frame = Telemetry(after=mark, to=mark + len(items), items=items)
        batch = ingest.read(node=node, connection_no=connection_no, telemetry=frame, now=self.now)
        ingest.store([batch], now=self.now)
        self._feed()

    @rule(tenths=st.integers(1, 9))
    def moment(self, tenths: int) -> None:
        """Less than a second passes; the clock's look may fall into it."""
        self._pass(timedelta(seconds=tenths / 10))

    @rule(seconds=st.sampled_from([1, 2, 7]))
    def wait(self, seconds: int) -> None:
        """Seconds pass."""
        self._pass(timedelta(seconds=seconds))

    @invariant()
    def every_page_has_caught_up(self) -> None:
        """With what the clock announces within seconds."""
        self._look()
        self._push([page_keys.HEARD, page_keys.FIGURES])
        for page in self.pages:
            page.check(self.now, but_odd=self._gone)
        self._gone = False

    def _pass(self, time: timedelta) -> None:
        end = self.now + time
        while (second := self.now.replace(microsecond=0) + timedelta(seconds=1)) <= end:
            self.now = second
            for name in NAMES:
                if name not in self._silent:
                    self._say(name)
            self._feed()
            self._look()
        self.now = end

    def _look(self) -> None:
        before, self._looks = self._looks, changes.looks(now=self.now)
        self._push(runtime._crossings(before, self._looks))

    def _feed(self) -> None:
        rows = changes.after(self._cursor, limit=1000)
        self._cursor = rows[-1][0] if rows else self._cursor
        self._push([key for _, key in rows])

    def _push(self, keys: list[str]) -> None:
        for page in self.pages:
            page.push(keys, self.now)

    def _connection(self, name: str) -> tuple[Node, int]:
        found = NodeLink.objects.select_related("node").get(node__name=name)
        return found.node, found.connection_no

    def _hello(self, name: str) -> None:
        hello = Hello(
            node_id=name,
            instance_id=f"i-{name}",
            spool_id="s",
            clock=self.now,
            manifest=parse_manifest({"node_id": name}),
        )
        link.open_connection(node=Node.objects.get(name=name), hello=hello, now=self.now)

    def _say(self, name: str, *, full: bool = False, **changed: Any) -> None:
        """Let a node say health, the same as before but for what changed."""
        node, connection_no = self._connection(name)
        self._no += 1
        before = self._last(name)
        of_node = {key: changed.pop(key) for key in Readout.__struct_fields__ if key in changed}
        readout = msgspec.structs.replace(before.node, **of_node)
        self._gone |= full
        said = msgspec.structs.replace(before, no=self._no, at=self.now, node=readout, full=full, **changed)
        self._said[name] = said
        (answer,) = health.apply(
            said=[Said(node=node, connection_no=connection_no, health=said, now=self.now)]
        )
        assert not isinstance(answer, Exception)

    def _last(self, name: str) -> Health:
        new = Health(no=0, at=self.now, node=Readout(state=NodeState.RUNNING, accepting=True))
        return self._said.get(name, new)

    def _item(self, kind: str, seq: int, name: str) -> dict[str, Any]:
        item = {"kind": kind, "seq": seq, "at": self.now.isoformat()}
        more: dict[str, dict[str, Any]] = {
            "histogram": {"provider": "groq", "capability": "c", "outcome": "ok", "counts": {"5": 2}},
            "transition": {"key": "groq", "from_state": "closed", "to_state": "open"},
            "run_end": {"run_id": "run-1", "status": "completed", "epoch": 2},
            "drain_step": {
                "generation": DesiredState.objects.get(node__name=name).generation,
                "step": "gate_closed",
                "in_flight": seq % 3,
            },
        }
        return {**item, **more[kind]}


STORIES: dict[str, list[Callable[[Mesh], None]]] = {
    "a node stops": [lambda mesh: mesh.turn("node-a", NodeState.STOPPING, problem=False)],
    "a node goes idle": [lambda mesh: mesh.go("node-a", idle=True)],
    "a peer's going explains a breaker": [
        lambda mesh: mesh.judge("node-a", {"node:node-b": BreakerState.OPEN}, full=False),
        lambda mesh: mesh.go("node-b", idle=True),
    ],
    "one stands against the others no more": [
        lambda mesh: mesh.judge("node-a", {"groq": BreakerState.OPEN}, full=False),
        lambda mesh: mesh.judge("node-b", {"groq": BreakerState.OPEN}, full=False),
    ],
    "a spool fills": [
        lambda mesh: mesh.spool("node-a", size=0, dropped=0),
        lambda mesh: mesh.spool("node-a", size=2, dropped=0),
    ],
    "a node has no room for a run": [lambda mesh: mesh.tell_runs("node-a", {}, epoch=1, more=1)],
}


@pytest.mark.parametrize("story", STORIES)
def test_what_once_left_old_cells_behind_does_no_more(story: str) -> None:
    with ExitStack() as stack:
        mesh = Mesh()
        stack.callback(mesh.teardown)
        for happen in STORIES[story]:
            happen(mesh)
            mesh.every_page_has_caught_up()


def test_an_open_page_comes_to_show_what_a_fresh_one_would() -> None:
    run_state_machine_as_test(
        Mesh,
        settings=settings(
            max_examples=20, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
