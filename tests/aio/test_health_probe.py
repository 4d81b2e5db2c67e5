"""Probes: case 13 of bus-and-health §4."""

import asyncio

import pytest

from meshcore.aio.health import HealthProbe, ProviderHealthCache
from meshcore.aio.testing import wait_until
from meshcore.testing import ManualClock


async def good() -> bool:
    return True


async def bad() -> bool:
    return False


async def refused() -> bool:
    raise ConnectionError("refused")


async def hangs() -> bool:
    await asyncio.Event().wait()
    return True


class Together:
    """A probe that only ends when `count` of its kind run at once."""

    def __init__(self, count: int) -> None:
        self._barrier = asyncio.Barrier(count)

    async def probe(self) -> bool:
        await self._barrier.wait()
        return True


@pytest.mark.parametrize(
    ("probe", "said"), [(bad, "false"), (refused, "ConnectionError"), (hangs, "timeout")]
)
async def test_case_13_a_failed_probe_says_how_and_harms_no_other(probe: object, said: str) -> None:
    cache = ProviderHealthCache()

    await HealthProbe(cache, {"bad": probe, "good": good}, timeout=0.05).tick_once()  # type: ignore[dict-item]

    states = cache.snapshot()
    assert said in (states["bad"].last_error or "")
    assert states["good"].healthy
    assert states["good"].last_error is None


async def test_failed_probes_alone_open_and_one_that_succeeds_half_opens() -> None:
    cache = ProviderHealthCache(failure_threshold=1, clock=ManualClock())

    await HealthProbe(cache, {"p": bad}).tick_once()
    opened = cache.state("p")
    await HealthProbe(cache, {"p": good}).tick_once()

    assert (opened, cache.state("p")) == ("open", "half_open")
    assert cache.is_healthy("p")


async def test_case_13_all_probes_of_a_tick_run_at_once() -> None:
    cache = ProviderHealthCache()
    together = Together(5)

    await HealthProbe(cache, {str(number): together.probe for number in range(5)}).tick_once()

    assert [state.healthy for state in cache.snapshot().values()] == [True] * 5


async def test_case_13_no_probes_are_no_states() -> None:
    cache = ProviderHealthCache()

    await HealthProbe(cache, {}).tick_once()

    assert cache.snapshot() == {}


@pytest.mark.parametrize(
    ("interval", "timeout", "named"), [(0.0, 3.0, "interval=0.0"), (30.0, 0.0, "timeout=0.0")]
)
def test_case_13_times_out_of_bounds_are_refused(interval: float, timeout: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        HealthProbe(ProviderHealthCache(), {}, interval, timeout)


class Counting:
    """A probe that counts."""

    def __init__(self) -> None:
        self.count = 0

    async def probe(self) -> bool:
        self.count += 1
        return True


async def test_case_13_the_first_tick_is_immediate_and_starting_twice_is_once() -> None:
    counting = Counting()
    probe = HealthProbe(ProviderHealthCache(), {"p": counting.probe}, interval=1000.0)

    await probe.start()
    probe.start()
    await wait_until(lambda: counting.count > 0)
    running = probe.running
    await probe.stop()

    assert (running, probe.running, counting.count) == (True, False, 1)
    assert probe.provider_ids == ["p"]


async def test_case_13_ticks_follow_each_other_with_jitter() -> None:
    counting = Counting()
    dice = iter([0.0, 1.0, 0.5])
    probe = HealthProbe(
        ProviderHealthCache(), {"p": counting.probe}, interval=0.01, random=lambda: next(dice, 0.5)
    )

    await probe.start()
    await wait_until(lambda: counting.count >= 4)
    await probe.stop()

    assert next(dice, None) is None


async def test_case_13_stopping_is_fine_before_start_and_twice() -> None:
    probe = HealthProbe(ProviderHealthCache(), {"p": good})

    await probe.stop()
    await probe.start()
    await probe.stop()
    await probe.stop()

    assert not probe.running
