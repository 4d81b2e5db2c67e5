"""What holds for every test."""

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# A busy machine must not turn a slow example into a failed property: tests wait for states, never for speed.
hypothesis.settings.register_profile("meshboard", deadline=None)
hypothesis.settings.load_profile("meshboard")

collect_ignore = ["engines"]  # run when they are asked for by name, as script/test-engines does


class OneWorkerForProcesses(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
    """Hands out tests file by file, but all that start processes to one worker.

    Two of those at once would starve each other on a small machine. xdist's own groups don't work here: it
    writes their names into test ids, which pytest 9.2 no longer lets it.
    """

    def _split_scope(self, nodeid: str) -> str:
        starts_processes = nodeid.startswith(("tests/e2e/", "tests/engines/"))
        return "tests/e2e" if starts_processes else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneWorkerForProcesses:
    """Use our order for `script/test`, which runs two workers."""
    return OneWorkerForProcesses(config, log)
