"""What must hold of runs with real processes, whatever keeps their log (runs.md, last section).

What viewers get is compared with what the provider would have said without the fault.
"""

import json
import random
import signal
import sys
import time
import urllib.request
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from meshcore.runs import CancelRequested, Claimed, End
from tests.e2e.calls import MODEL, chunks, client_of, say, text_of
from tests.e2e.conftest import Measured
from tests.e2e.harness import Mesh, Node, Process, ask, status_of, until
from tests.e2e.run_stage import (
    LEASE_SECONDS,
    LIVE_RUNS,
    OUTAGE_SECONDS,
    RACES,
    Engine,
    Follower,
    Stage,
    Viewer,
    alive,
    chat,
    events_of,
    fenced,
    frames_in,
    make,
    owner_but,
    post,
    show,
    text_comes,
    write_released,
)

CHUNKS = 40
ANSWER = f"slow:{CHUNKS}x80"  # 3.2 s: time enough to see it begin and to end who gives it
CLAIMERS = 2


@pytest.fixture
def stage(mesh: Mesh, engine: Engine) -> Stage:
    """Nodes of the log that `engine` keeps."""
    return Stage(mesh, engine)


class Watching:
    """Everybody may watch, leave and end a run, anywhere."""

    def test_every_viewer_gets_the_whole_answer_from_the_log(self, stage: Stage) -> None:
        owner, other = stage.nodes(2)

        run_id = make(owner, ANSWER)
        viewers = [Viewer(node, run_id) for node in (owner, other)]
        text_comes(other, run_id)
        viewers += [Viewer(node, run_id) for node in (owner, other)]

        for viewer in viewers:
            viewer.finish()
        run = show(other, run_id)
        assert (run["status"], run["owner"], run["epoch"], run["takeovers"]) == (
            "completed",
            owner.name,
            1,
            0,
        )
        assert run["text"] == chunks(CHUNKS)
        for viewer in viewers:
            assert (viewer.text, viewer.indexes()) == (chunks(CHUNKS), list(range(1, CHUNKS + 2)))
            assert viewer.end == {
                "status": "completed",
                "reason": "stop",
                "final_seq": run["last_seq"],
                "usage": run["usage"],
            }

    @pytest.mark.parametrize("where", [0, 1])
    def test_a_run_is_cancelled_from_any_node(self, stage: Stage, where: int) -> None:
        nodes = stage.nodes(2)
        run_id = make(nodes[0], "hang:after=5 many:50")
        viewer = Viewer(nodes[1], run_id)
        text_comes(nodes[1], run_id)

        status, body = post(nodes[where], f"/v1/runs/{run_id}/cancel", {})
        viewer.finish()

        assert (status, body["cancelled"]) == (202, True)
        assert viewer.end is not None and viewer.end["status"] == "cancelled"
        until(lambda: stage.mock.calls()["open"] == 0, "the provider's request is closed")
        assert post(nodes[1 - where], f"/v1/runs/{run_id}/cancel", {}) == (
            200,
            {"id": run_id, "cancelled": False, "status": "cancelled"},
        )

    def test_attaching_resumes_behind_what_is_known(self, stage: Stage) -> None:
        (node,) = stage.nodes(1)
        run_id = make(node, "many:5")
        whole = Viewer(node, run_id).finish().frames

        by_query = Viewer(node, run_id, "?starting_after=4").finish().frames
        request = urllib.request.Request(f"{node.url}/v1/runs/{run_id}/attach?starting_after=1")
        request.add_header("Last-Event-ID", "4")
        with ask(request) as answer:
            by_header = list(frames_in(answer))

        assert by_query == by_header == [frame for frame in whole if frame.seq > 4]

    def test_a_detached_call_is_a_plain_answer_that_outlives_its_client(self, stage: Stage) -> None:
        owner, other = stage.nodes(2)
        detached = {"X-Mesh-Detach": "1"}
        with client_of(owner) as client:
            answers = client.chat.completions
            streamed = answers.with_raw_response.create(
                model=MODEL, messages=say("many:5"), stream=True, extra_headers=detached
            )
            whole = answers.create(model=MODEL, messages=say("many:5"), extra_headers=detached)
            left = answers.with_raw_response.create(
                model=MODEL, messages=say(ANSWER), stream=True, extra_headers=detached
            )
            left.parse().close()

            assert text_of(streamed.parse()) == chunks(5)
            assert whole.choices[0].message.content == chunks(5)
        assert whole.usage is not None and whole.usage.completion_tokens == 5
        assert show(other, streamed.headers["X-Mesh-Run-Id"])["status"] == "completed"
        assert Viewer(other, left.headers["X-Mesh-Run-Id"]).finish().text == chunks(CHUNKS)

    def test_the_same_idempotency_key_is_the_same_run_on_every_node(self, stage: Stage) -> None:
        one, other = stage.nodes(2)

        first = make(one, "many:3", **{"Idempotency-Key": "k"})
        again = make(other, "many:3", **{"Idempotency-Key": "k"})
        status, body = post(one, "/v1/runs", chat("many:4"), **{"Idempotency-Key": "k"})

        assert first == again
        assert (status, body["error"]["code"]) == (409, "idempotency_conflict")

    def test_all_viewers_of_many_live_runs_get_whole_answers(self, stage: Stage, measured: Measured) -> None:
        owner, other = stage.nodes(2)
        began = time.monotonic()

        run_ids = [make(owner, "slow:20x250") for _ in range(LIVE_RUNS)]
        measured(f"{LIVE_RUNS} runs were made", time.monotonic() - began)
        viewers = [Viewer(node, run_id) for run_id in run_ids for node in (owner, other)]
        live = stage.mock.calls()["open"]
        for viewer in viewers:
            viewer.finish()

        measured("all viewers had the end of all", time.monotonic() - began)
        measured("runs were live at once", live, "runs")
        assert {viewer.text for viewer in viewers} == {chunks(20)}
        assert all(viewer.indexes() == list(range(1, 22)) and not viewer.epochs for viewer in viewers)


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

    def test_an_orphan_is_taken_by_whoever_has_another_id_and_a_shared_id_is_refused(
        self, stage: Stage
    ) -> None:
        owner, other = stage.nodes(2)
        double = stage.node("double", id=other.name)
        run_id = make(owner, ANSWER)
        text_comes(other, run_id)

        owner.kill()  # and it never comes back
        double.start()

        assert Viewer(other, run_id).finish().text == chunks(CHUNKS)
        run = show(other, run_id)
        assert (run["status"], run["owner"], run["epoch"]) == ("completed", other.name, 2)
        assert double.wait() != 0
        assert other.name in double.log()

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


class Claiming:
    """Of two who claim a run, one gets it."""

    def test_of_two_claimers_one_wins_every_time(self, mesh: Mesh, ways: Sequence[str]) -> None:
        """`ways` are URLs of the log, one for each claimer: several servers keep one log."""
        run_ids = [f"run_abcdef_{number:032x}" for number in range(RACES)]
        write_released(ways[0], run_ids)
        start = mesh.folder / "start"
        program = [sys.executable, "-m", "tests.e2e.claimer"]
        claimers = [
            mesh.process(f"claimer-{at}", [*program, url, str(at), str(start), *run_ids])
            for at, url in enumerate(ways)
        ]
        for claimer in claimers:
            claimer.start_and_wait()

        put(start, str(time.monotonic() + 0.2))
        races = list(zip(*(said(claimer) for claimer in claimers), strict=True))

        assert [race.count(True) for race in races] == [1] * RACES
        for events in events_of(ways[0], run_ids).values():
            assert [event.epoch for event in events if isinstance(event, Claimed)] == [1, 2]


class Ending:
    """A run ends once."""

    def test_a_run_that_is_cancelled_as_it_finishes_has_one_end(
        self, stage: Stage, measured: Measured
    ) -> None:
        owner, other = stage.nodes(2)
        began = time.monotonic()
        Viewer(other, make(owner, "slow:3x30")).finish()
        took = time.monotonic() - began
        cancelled: dict[str, bool] = {}
        for _ in range(RACES):
            run_id = make(owner, "slow:3x30")
            time.sleep(random.uniform(0.4, 1.0) * took)
            status, body = post(other, f"/v1/runs/{run_id}/cancel", {})
            assert status in (200, 202)
            cancelled[run_id] = body["cancelled"]
        for run_id in cancelled:
            Viewer(other, run_id).finish()

        measured("cancellation came first", sum(cancelled.values()), "races")
        for run_id, events in events_of(stage.engine.url, list(cancelled)).items():
            (end,) = (event for event in events if isinstance(event, End))
            asked = [event for event in events if isinstance(event, CancelRequested)]
            assert (end.status == "cancelled") is cancelled[run_id] is bool(asked)
            assert events[-1] is end


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
        run_id = make(owner, ANSWER)
        viewer = Viewer(other, run_id)
        text_comes(other, run_id)
        owner.kill()

        assert (viewer.finish().text, viewer.epochs) == (chunks(CHUNKS), ["restarted"])


class RunScenarios(Watching, Dying, Claiming, Ending, Stopping, Starting):
    """All of it."""


def said(claimer: Process) -> list[bool]:
    """Return what a claimer made of each race."""
    assert claimer.wait() == 0, claimer.log()
    results: list[bool] = json.loads(claimer.output().splitlines()[-1])
    return results


def set_clocks(shifts: Sequence[Path], *hours: int) -> None:
    """Let the wall clocks of processes be wrong by so many hours."""
    for shift, by in zip(shifts, hours, strict=True):
        put(shift, str(3600 * by))


def put(path: Path, text: str) -> None:
    """Write a file that others read at any time: they find the old one, or all of the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def freeze(node: Node, engine: Engine) -> None:
    """Stop a process, but not in the middle of a commit: then the log would be frozen, too."""
    node.signal(signal.SIGSTOP)
    while not engine.is_free():
        node.signal(signal.SIGCONT)
        node.signal(signal.SIGSTOP)
