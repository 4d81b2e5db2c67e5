"""What must hold of runs when processes end, stand still, or lose their log (runs.md, last section)."""

import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.calls import chunks
from tests.e2e.harness import Node, status_of, until
from tests.e2e.run_stage import (
    ANSWER,
    CHUNKS,
    LEASE_SECONDS,
    OUTAGE_SECONDS,
    Engine,
    Stage,
    alive,
    beats_of,
    chat,
    fenced,
    make,
    owner_but,
    post,
    put,
    show,
    text_comes,
)
from tests.e2e.run_viewers import Follower, Viewer


class Dying:
    """A run outlives those who execute it."""

    @pytest.mark.parametrize(("continuation", "reason"), [("prefill", "continued"), ("none", "restarted")])
    def test_sigkill_of_the_owner_takes_nothing_from_anybody(
        self, stage: Stage, continuation: str, reason: str
    ) -> None:
        owner, *others = stage.nodes(3, continuation=continuation)
        run_id = make(owner, ANSWER)
        viewers = [Viewer(node, run_id) for node in others]
        orphaned = Viewer(owner, run_id)
        until(lambda: len(orphaned.frames) > 5, "its viewers see something")
        text_comes(others[0], run_id)

        killed_at = time.monotonic()
        owner.kill()
        for viewer in viewers:
            viewer.finish()

        behind = orphaned.go_on_at(others[1], run_id)
        for viewer in [*viewers, behind]:
            assert (viewer.text, viewer.epochs) == (chunks(CHUNKS), [reason])
            assert [f.seq for f in viewer.frames] == list(range(2, viewer.frames[-1].seq + 1))
        assert viewers[0].taken.at - killed_at < LEASE_SECONDS + 2
        behind_claim = viewers[0].taken.seq if reason == "restarted" else 0
        assert viewers[0].indexes(behind_claim) == list(range(1, CHUNKS + 2))
        late = Viewer(others[0], run_id).finish()
        assert (late.text, late.indexes()) == (chunks(CHUNKS), list(range(1, CHUNKS + 2)))
        assert Viewer(others[1], run_id, "?history=all").finish().frames == viewers[0].frames
        assert show(others[0], run_id)["takeovers"] == 1

    def test_sigterm_of_the_owner_moves_its_run_within_a_second(self, stage: Stage) -> None:
        owner, other = stage.nodes(2)
        run_id = make(owner, ANSWER)
        viewer = Viewer(other, run_id)
        text_comes(other, run_id)

        asked_at = time.monotonic()
        owner.ask_to_end()
        viewer.finish()

        assert viewer.taken.at - asked_at < 1.0
        assert (viewer.text, show(other, run_id)["takeovers"]) == (chunks(CHUNKS), 0)
        assert owner.wait() == 0

    def test_nothing_of_a_zombie_stands_behind_the_newer_claim(self, stage: Stage) -> None:
        owner, other = stage.nodes(2)
        run_id = make(owner, ANSWER)
        text_comes(other, run_id)

        freeze(owner, stage.engine)
        until(lambda: show(other, run_id)["owner"] == other.name, "the other takes over")
        owner.signal(signal.SIGCONT)
        viewer = Viewer(other, run_id, "?history=all").finish()

        assert (viewer.text, viewer.epochs) == (chunks(CHUNKS), ["restarted"])
        assert viewer.indexes(viewer.taken.seq) == list(range(1, CHUNKS + 2))
        until(lambda: fenced(owner) == 1, "the zombie says that it was fenced")
        until(owner.ready, "the zombie goes on as another instance")

    def test_a_run_survives_that_every_node_is_killed_in_turn(self, stage: Stage) -> None:
        nodes = stage.nodes(3, continuation="prefill")
        by_name = {node.name: node for node in nodes}
        run_id = make(nodes[0], "slow:100x80")
        killed: list[str] = []
        while len(killed) < len(nodes):
            owner = until(partial(owner_but, killed, alive(nodes)[0], run_id), "somebody goes on")
            if len(killed) == len(nodes) - 1:
                by_name[killed[0]].start_and_wait()  # a mesh of none goes on with nothing
            by_name[owner].kill()
            killed.append(owner)

        viewer = Follower(by_name[killed[0]], run_id).finish()

        assert (viewer.text, viewer.end and viewer.end["status"]) == (chunks(100), "completed")
        assert show(by_name[killed[0]], run_id)["takeovers"] == 3

    def test_no_clock_on_a_wall_makes_anybody_take_a_run(self, stage: Stage) -> None:
        shifts = [stage.mesh.folder / f"shift-{number}" for number in range(2)]
        set_clocks(shifts, 0, 0)
        module = "tests.e2e.wall_clock"
        owner, other = (
            stage.node(f"node-{number}", module=(module, str(shift))) for number, shift in enumerate(shifts)
        )
        stage.start((owner, other))
        run_id = make(owner, "slow:60x100")  # beyond a lease
        viewer = Viewer(other, run_id)
        for at, hours in enumerate([(1, -1), (-1, 1), (1, 1), (0, 0)]):
            set_clocks(shifts, *hours)
            text_comes(other, run_id, chunks=12 * (at + 1))

        viewer.finish()

        run = show(other, run_id)
        assert (viewer.text, run["epoch"], run["takeovers"]) == (chunks(60), 1, 0)
        assert (fenced(owner), fenced(other)) == (0, 0)


class Stopping:
    """Nothing is stored for a while."""

    def test_an_engine_that_stops_and_starts_loses_nothing_and_nobody_is_stuck(self, stage: Stage) -> None:
        owner, other = stage.nodes(2, continuation="prefill")
        run_ids = [make(owner, "slow:60x100"), make(owner, "hang:after=5 many:50")]
        viewers = [Follower(node, run_id) for run_id in run_ids for node in (owner, other)]
        for run_id in run_ids:
            text_comes(other, run_id)

        stage.engine.stop()
        stopped_at = time.monotonic()
        until(lambda: stage.mock.calls()["open"] == 0, "the provider's requests are closed")
        seen = [len(viewer.frames) for viewer in viewers]
        time.sleep(max(stopped_at + OUTAGE_SECONDS - time.monotonic(), 0))
        assert [len(viewer.frames) for viewer in viewers] == seen  # what isn't stored isn't shown
        stage.engine.start()
        for node in (owner, other):
            until(node.ready, "it may own runs again")
        until(lambda: show(other, run_ids[1])["status"] == "running", "it is executed again")
        until(lambda: post(other, f"/v1/runs/{run_ids[1]}/cancel", {})[0] == 202, "it is cancelled")
        for viewer in viewers:
            viewer.finish()

        assert {viewer.text for viewer in viewers[:2]} == {chunks(60)}
        assert [viewer.indexes() for viewer in viewers[:2]] == [list(range(1, 62))] * 2
        assert {viewer.end and viewer.end["status"] for viewer in viewers[2:]} == {"cancelled"}
        assert show(other, run_ids[0])["takeovers"] == 0  # nobody died
        for node in (owner, other):
            assert Viewer(other, make(node, "many:3")).finish().text == chunks(3)


class Starting:
    """The log is not there yet."""

    def test_a_log_that_is_not_there_at_the_start_is_waited_for_and_then_deaths_are_noticed(
        self, stage: Stage
    ) -> None:
        stage.engine.stop()
        owner, other = (stage.node(f"node-{number}") for number in range(2))
        for node in (owner, other):
            node.start_and_wait()

        assert [status_of(f"{node.url}/readyz") for node in (owner, other)] == [503, 503]
        status, body = post(owner, "/v1/runs", chat(ANSWER))
        assert (status, body["error"]["code"]) == (503, "log_unreachable")
        stage.engine.start()
        for node in (owner, other):
            until(node.ready, "it may own runs")
        heard: dict[str, int] = {}
        until(lambda: len(rising(stage.engine.url, heard)) == 2, "both give signs of life")
        run_id = make(owner, ANSWER)
        viewer = Viewer(other, run_id)
        text_comes(other, run_id)
        owner.kill()

        assert (viewer.finish().text, viewer.epochs) == (chunks(CHUNKS), ["restarted"])


def rising(url: str, heard: dict[str, int]) -> list[str]:
    """Return the instances that gave a sign of life since they were first heard, by whatever name now."""
    beats = beats_of(url)
    for instance, count in beats.items():
        heard.setdefault(instance, count)
    return [instance for instance, count in beats.items() if count > heard[instance]]


def set_clocks(shifts: Sequence[Path], *hours: int) -> None:
    """Let the wall clocks of processes be wrong by so many hours."""
    for shift, by in zip(shifts, hours, strict=True):
        put(shift, str(3600 * by))


def freeze(node: Node, engine: Engine) -> None:
    """Stop a process, but not in the middle of a commit: then the log would be frozen, too."""
    node.signal(signal.SIGSTOP)
    while not engine.is_free():
        node.signal(signal.SIGCONT)
        node.signal(signal.SIGSTOP)
