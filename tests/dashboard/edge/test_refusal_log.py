"""However often strangers come, the log grows by so many lines a minute."""

import logging

import pytest

from dashboard.edge.refusal_log import RefusalLog
from meshcore.testing import ManualClock


def test_a_flood_leaves_a_few_lines_and_its_number(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    log = RefusalLog(logging.getLogger("test"), clock=clock, lines=3)

    for number in range(1000):
        log.warn("refused %d", number)
    clock.advance(60)
    log.warn("refused again")

    assert caplog.messages == [
        "refused 0",
        "refused 1",
        "refused 2",
        "997 more were refused and not logged",
        "refused again",
    ]


def test_a_quiet_minute_leaves_no_number(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    log = RefusalLog(logging.getLogger("test"), clock=clock, lines=1)

    for _ in range(3):
        log.warn("refused")
        clock.advance(60)

    assert caplog.messages == ["refused"] * 3
