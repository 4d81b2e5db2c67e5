"""One guarded call through circuit breakers: ask for leave, do nothing, say that it went well."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import peers
from benchmarks.loops import Loop, Prepare, contestant
from benchmarks.rounds import Contestant, Role
from benchmarks.table import Goal

UNIT = "permits"
OURS = "try_acquire + release"
PEERS = ("pybreaker 1.4.1", "aiobreaker 1.2.0", "purgatory 3.0.1")
GOALS = tuple(Goal(ratio=1.0, of=name) for name in PEERS)


def _ours() -> Loop:
    from meshcore.aio.health import ProviderHealthCache
    from meshcore.breaker import Outcome, Permit

    cache, success = ProviderHealthCache(), Outcome.SUCCESS

    async def permits(times: int) -> None:
        for _ in range(times):
            permit = cache.try_acquire("provider")
            if isinstance(permit, Permit):
                cache.release(permit, success)

    return permits


def _pybreaker() -> Loop:
    import pybreaker

    breaker = pybreaker.CircuitBreaker(fail_max=2, reset_timeout=60)

    async def permits(times: int) -> None:
        for _ in range(times):
            breaker.call(_nothing)

    return permits


def _aiobreaker() -> Loop:
    import aiobreaker

    breaker = aiobreaker.CircuitBreaker(fail_max=2)

    async def permits(times: int) -> None:
        for _ in range(times):
            breaker.call(_nothing)

    return permits


def _purgatory() -> Loop:
    import purgatory

    breakers = purgatory.SyncCircuitBreakerFactory(default_threshold=2, default_ttl=60)

    async def permits(times: int) -> None:
        for _ in range(times):
            with breakers.get_breaker("provider"):  # as its documentation has it: by name, as ours
                _nothing()

    return permits


def _nothing() -> None:
    pass


LOOPS: dict[str, Prepare] = {
    OURS: _ours,
    **dict(zip(PEERS, (_pybreaker, _aiobreaker, _purgatory), strict=True)),
}


@contextmanager
def contestants(*, with_peers: bool) -> Iterator[list[Contestant]]:
    """Give those that are measured."""
    yield [contestant(OURS, Role.OURS, __name__), *(_peers() if with_peers else ())]


def _peers() -> list[Contestant]:
    try:
        python = str(peers.ensure())
    except peers.PeersMissing as exc:
        return [Contestant(name=name, role=Role.PEER, failure=str(exc)) for name in PEERS]
    return [contestant(name, Role.PEER, __name__, python) for name in PEERS]
