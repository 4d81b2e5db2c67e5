"""What holds for every test."""

import logging

import hypothesis
import pytest
from xdist.remote import Producer

from tests.workers import Workers

# A busy machine must not turn a slow example into a failed property: tests wait for states, never for speed.
hypothesis.settings.register_profile("meshboard", deadline=None)
hypothesis.settings.load_profile("meshboard")
# Nor may asyncio's debug mode, which tells of each slow callback, put a word into what a test reads.
logging.getLogger("asyncio").addFilter(lambda record: record.msg != "Executing %s took %.3f seconds")

collect_ignore = ["engines"]  # run when they are asked for by name, as script/test-engines does


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Workers:
    """Use our order for `script/test`, which runs two workers."""
    return Workers(config, log)
