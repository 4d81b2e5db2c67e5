"""What must hold of runs with real processes, whatever keeps their log (runs.md, last section).

What viewers get is compared with what the provider would have said without the fault.
"""

import json
import random
import sys
import time
import urllib.request
from collections.abc import Sequence

import pytest

from meshcore.run_events import CancelRequested, Claimed, End
from tests.e2e.calls import MODEL, chunks, client_of, say, text_of
from tests.e2e.conftest import Measured
from tests.e2e.harness import Mesh, Process, ask, until
from tests.e2e.run_deaths import Dying, Starting, Stopping
from tests.e2e.run_stage import (
    ANSWER,
    CHUNKS,
    LIVE_RUNS,
    RACES,
    Engine,
    Stage,
    chat,
    events_of,
    make,
    post,
    put,
    show,
    text_comes,
    write_released,
)
from tests.e2e.run_viewers import Viewer, frames_in

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

    def test_a_run_is_cancelled_from_any_node(self, stage: Stage) -> None:
        nodes = stage.nodes(2)
        run_ids = [make(nodes[0], "hang:after=5 many:50") for _ in nodes]
        viewers = [Viewer(nodes[1], run_id) for run_id in run_ids]
        for node, run_id in zip(nodes, run_ids, strict=True):
            text_comes(nodes[1], run_id)

            status, body = post(node, f"/v1/runs/{run_id}/cancel", {})

            assert (status, body["cancelled"]) == (202, True)
        for viewer in viewers:
            assert (viewer.finish().end or {})["status"] == "cancelled"
        until(lambda: stage.mock.calls()["open"] == 0, "the provider's requests are closed")
        assert post(nodes[1], f"/v1/runs/{run_ids[0]}/cancel", {}) == (
            200,
            {"id": run_ids[0], "cancelled": False, "status": "cancelled"},
        )

    def test_all_viewers_of_many_live_runs_get_whole_answers(self, stage: Stage, measured: Measured) -> None:
        owner, other = stage.nodes(2, max_concurrent=LIVE_RUNS)
        began = time.monotonic()

        pace_ms = max(200, LIVE_RUNS * 8)  # the first shall live still when the last is made
        run_ids = [make(owner, f"slow:10x{pace_ms}") for _ in range(LIVE_RUNS)]
        measured(f"{LIVE_RUNS} runs were made", time.monotonic() - began)
        viewers = [Viewer(node, run_id) for run_id in run_ids for node in (owner, other)]
        live = stage.mock.calls()["open"]
        for viewer in viewers:
            viewer.finish()

        measured("all viewers had the end of all", time.monotonic() - began)
        measured("runs were live at once", live, "runs")
        assert {viewer.text for viewer in viewers} == {chunks(10)}
        assert all(viewer.indexes() == list(range(1, 12)) and not viewer.epochs for viewer in viewers)


class Answering:
    """What the API promises, whatever keeps the log."""

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


class Identifying:
    """Who takes a run over is somebody else, and nobody else has its name."""

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


class RunScenarios(Watching, Dying, Claiming, Ending, Stopping, Starting):
    """What depends on the engine."""


def said(claimer: Process) -> list[bool]:
    """Return what a claimer made of each race."""
    assert claimer.wait() == 0, claimer.log()
    results: list[bool] = json.loads(claimer.output().splitlines()[-1])
    return results
