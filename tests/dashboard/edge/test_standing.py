"""A connection stays while its token counts: asked at once, when tokens change, and now and then."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from dashboard import runtime
from dashboard.edge import standing
from dashboard.edge.standing import Recheck, until_refused
from dashboard.runtime import Runtime

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 10.0


@pytest.fixture
async def rt() -> AsyncIterator[Runtime]:
    async with runtime.running(poll_seconds=1000.0, heard_seconds=1000.0, jobs=()) as running:
        yield running


class Verdicts:
    """Answers in order; `asked` is set whenever it is asked."""

    def __init__(self, *verdicts: bool | None) -> None:
        self._verdicts: Iterator[bool | None] = iter(verdicts)
        self.asked = asyncio.Event()

    async def __call__(self) -> bool | None:
        self.asked.set()
        return next(self._verdicts)


async def test_a_token_that_was_revoked_meanwhile_ends_it_at_once(rt: Runtime) -> None:
    async with asyncio.timeout(SECONDS):
        await until_refused(rt, Verdicts(False))


async def test_a_change_of_tokens_is_a_reason_to_ask(rt: Runtime) -> None:
    verdicts = Verdicts(True, False)

    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(until_refused(rt, verdicts))
        await verdicts.asked.wait()
        rt.announce([1], ["tokens"])


async def test_what_can_not_be_told_is_asked_again_soon(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "RETRY_SECONDS", 0.01)

    async with asyncio.timeout(SECONDS):
        await until_refused(rt, Verdicts(None, None, False))


async def test_whoever_is_cancelled_listens_no_more(rt: Runtime) -> None:
    before = len(rt._listeners)
    verdicts = Verdicts(True)
    task = asyncio.create_task(until_refused(rt, verdicts))
    await verdicts.asked.wait()

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert len(rt._listeners) == before


async def test_who_was_looked_at_is_asked_for_again_only_when_tokens_change_even_if_that_was_before(
    rt: Runtime,
) -> None:
    verdicts = Verdicts(False)
    recheck = Recheck(rt, verdicts)
    waiting = asyncio.create_task(recheck.until_refused(looked=True))
    await asyncio.sleep(0)
    assert not verdicts.asked.is_set()
    waiting.cancel()

    rt.announce([1], ["tokens"])

    async with asyncio.timeout(SECONDS):
        await recheck.until_refused(looked=True)
    recheck.end()
    assert verdicts.asked.is_set()
