"""Which worker takes which file: played with workers that run nothing."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.workers import LONGEST, Workers, in_order

COMPUTE = ("tests/test_breaker.py", "tests/dashboard/test_sheet.py", "tests/aio/test_bus.py")
WAIT = ("tests/e2e/test_drain.py", LONGEST[0], "tests/engines/test_audit.py")


class Worker:
    """Takes down the files that it was given, in order; all at once when it is told to run them."""

    shutting_down = False
    gateway = SimpleNamespace(id="gw")

    def __init__(self, collection: list[str]) -> None:
        self.files: list[str] = []
        self.waiting: list[int] = []
        self._collection = collection

    def send_runtest_some(self, indices: list[int]) -> None:
        self.waiting += indices
        file = self._collection[indices[0]].partition("::")[0]
        self.files.append(file)

    def shutdown(self) -> None:
        self.shutting_down = True


class Log:
    """xdist's, which is not read."""

    loadscopesched = staticmethod(lambda *_: None)


@pytest.fixture
def workers(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> tuple[Workers, list[Worker]]:
    """Three workers that have collected five tests in each file."""
    monkeypatch.setattr(pytestconfig.option, "tx", ["3*popen"])
    collection = [f"{name}::test_{n}" for name in (*COMPUTE, *WAIT) for n in range(5)]
    scheduling = Workers(pytestconfig, Log())
    found = [Worker(collection) for _ in range(3)]
    for worker in found:
        scheduling.add_node(worker)
        scheduling.add_node_collection(worker, collection)
    scheduling.schedule()
    return scheduling, found


def run(scheduling: Workers, worker: Any, tests: int) -> None:
    for _ in range(tests):
        scheduling.mark_test_complete(worker, worker.waiting.pop(0))


def test_one_worker_begins_with_what_waits_and_the_others_with_what_computes(
    workers: tuple[Workers, list[Worker]],
) -> None:
    _, (first, second, third) = workers

    assert [each.files for each in (first, second, third)] == [[LONGEST[0]], [COMPUTE[0]], [COMPUTE[1]]]


def test_the_second_helps_the_first_and_the_third_ends(workers: tuple[Workers, list[Worker]]) -> None:
    scheduling, (first, second, third) = workers

    run(scheduling, third, 10)  # while the others are still at their first files
    run(scheduling, second, 15)

    assert (third.files, third.shutting_down) == (list(COMPUTE[1:]), True)
    assert second.files[0] == COMPUTE[0]
    assert set(second.files[1:]) == set(WAIT) - {LONGEST[0]}
    assert first.files == [LONGEST[0]]


def test_every_test_is_run_once(workers: tuple[Workers, list[Worker]]) -> None:
    scheduling, all_of_them = workers
    ran: list[int] = []

    while any(worker.waiting for worker in all_of_them):
        for worker in all_of_them:
            ran += worker.waiting[:1]
            run(scheduling, worker, len(worker.waiting[:1]))

    assert sorted(ran) == list(range(5 * len(COMPUTE + WAIT)))
    assert all(worker.shutting_down for worker in all_of_them)


def test_what_takes_longest_comes_first_and_the_rest_as_it_was() -> None:
    assert in_order(["b", LONGEST[1], "a", LONGEST[0]]) == [LONGEST[0], LONGEST[1], "b", "a"]
