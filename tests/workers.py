"""Which of xdist's workers runs what, so that a machine of two cores is neither starved nor idle.

Tests come file by file. Those that start processes of ours wait most of their time, all others compute: the
first worker takes the former, the others begin with the latter, and the second helps the first when those are
done. More than two would starve each other's processes. What takes longest comes first, so that no worker
ends long before the others.
"""

from collections.abc import Iterable

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

PROCESSES = ("tests/e2e/", "tests/engines/")
AT_ONCE = 2  # workers that may run tests with processes
LONGEST = (  # of those with processes, in this order; by what they took beside others
    "tests/e2e/test_runs.py",
    "tests/engines/test_runs.py",
    "tests/engines/test_two_dashboards.py",
    "tests/engines/test_ledger.py",
    "tests/e2e/test_routing.py",
    "tests/e2e/test_honest.py",
    "tests/e2e/test_backup.py",
    "tests/e2e/test_kill.py",
    "tests/e2e/test_splice.py",
    "tests/e2e/test_trail.py",
    "tests/e2e/test_drain.py",
)


def in_order(files: Iterable[str]) -> list[str]:
    """Return `files` with the longest first, as far as it is known; others stay as they are."""
    known = {name: at for at, name in enumerate(LONGEST)}
    return sorted(files, key=lambda name: known.get(name, len(known)))


def starts_processes(file: str) -> bool:
    """Return whether the tests of a file wait for processes, mostly."""
    return file.startswith(PROCESSES)


class Workers(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
    """See the module.

    xdist's own groups don't work here: it writes their names into test ids, and pytest 9.2 no longer lets it.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0]

    def _reschedule(self, node: WorkerController) -> None:
        if self.workqueue and not self._files_for(node) and not node.shutting_down:
            node.shutdown()  # behind what it still has
        else:
            super()._reschedule(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        files = self._files_for(node) or list(self.workqueue)
        self.workqueue.move_to_end(files[0], last=False)
        super()._assign_work_unit(node)

    def _files_for(self, node: WorkerController) -> list[str]:
        """Return what a worker may take, what it had better take first."""
        number = self.nodes.index(node)
        files = in_order(self.workqueue)
        waiting = [name for name in files if starts_processes(name)]
        computing = [name for name in files if not starts_processes(name)]
        if number == 0:
            return waiting + computing
        return computing + (waiting if number < AT_ONCE else [])
