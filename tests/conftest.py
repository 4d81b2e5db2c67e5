"""What holds for every test."""

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# A busy machine must not turn a slow example into a failed property: tests wait for states, never for speed.
hypothesis.settings.register_profile("meshboard", deadline=None)
hypothesis.settings.load_profile("meshboard")


class OneWorkerForProcesses(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
    """Hands out tests file by file, but all of tests/e2e to one worker.

    Two of those at once would starve each other on a small machine. xdist's own groups don't work here: it
    writes their names into test ids, which pytest 9.2 no longer lets it.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "tests/e2e" if nodeid.startswith("tests/e2e/") else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneWorkerForProcesses:
    """Use our order for `script/test`, which runs two workers."""
    return OneWorkerForProcesses(config, log)
