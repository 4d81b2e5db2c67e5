"""Waiting for a state."""

import pytest

from meshcore.aio.testing import wait_until


async def test_waiting_ends_with_the_state() -> None:
    answers = iter([False, False, True])

    await wait_until(lambda: next(answers))

    assert list(answers) == []


async def test_waiting_has_a_bound() -> None:
    with pytest.raises(TimeoutError):
        await wait_until(lambda: False, seconds=0.01)
