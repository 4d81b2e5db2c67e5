"""Hints cross Redis: to other processes, soon, and again behind an outage."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.db import connections, transaction

from dashboard import engines as engine_settings
from dashboard import hints, runtime
from dashboard.services import changes
from tests.engines.servers import Engines
from tests.engines.switchboard import Switchboard, switchboard

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # The client leaves the stream of a connection that breaks while it is made to the collector.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. .function StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning"
    ),
]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEVER_SECONDS = 1000.0
PATIENCE_SECONDS = 30.0


@pytest.fixture
def redis(engines: Engines) -> Iterator[Switchboard]:
    """The way to Redis."""
    with switchboard(engines.redis_url.partition("://")[2].partition("/")[0]) as board:
        yield board


@pytest.fixture
def layers(engines: Engines, redis: Switchboard) -> Callable[[], RedisPubSubChannelLayer]:
    """Make the layer of one process more."""
    address, prefix = f"redis://{redis.address}/0", engines.new_layer().partition("?")[2]
    config = engine_settings.channel_layer(f"{address}?{prefix}")["CONFIG"]
    return lambda: RedisPubSubChannelLayer(**config)


@asynccontextmanager
async def relaying(
    layer: RedisPubSubChannelLayer, on_hint: Callable[[], None], **settings: float
) -> AsyncIterator[hints.Relay]:
    """Run a relay, and leave nothing of its layer behind."""
    relay = hints.Relay(layer, on_hint, **settings)
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await layer.flush()


async def heard_by(heard: asyncio.Event, sender: hints.Relay) -> None:
    """Announce again and again until it is heard: nobody says when a subscription counts."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not heard.is_set():
            await sender.announce()
            await asyncio.sleep(0.05)


async def test_a_process_hears_the_other_and_not_itself(
    layers: Callable[[], RedisPubSubChannelLayer],
) -> None:
    here, there = asyncio.Event(), asyncio.Event()
    async with relaying(layers(), here.set) as sender, relaying(layers(), there.set):
        await heard_by(there, sender)

        assert not here.is_set()


async def test_a_renewed_membership_still_hears(layers: Callable[[], RedisPubSubChannelLayer]) -> None:
    heard = asyncio.Event()
    async with relaying(layers(), lambda: None) as sender, relaying(layers(), heard.set, renew_seconds=0.1):
        for _ in range(3):
            heard.clear()
            await heard_by(heard, sender)
            await asyncio.sleep(0.15)  # at least one renewal


async def test_behind_an_outage_hints_are_heard_again(
    layers: Callable[[], RedisPubSubChannelLayer], redis: Switchboard
) -> None:
    heard = asyncio.Event()
    async with relaying(layers(), lambda: None) as sender, relaying(layers(), heard.set):
        await heard_by(heard, sender)

        await asyncio.to_thread(redis.cut)
        await sender.announce()
        await asyncio.to_thread(redis.mend)
        heard.clear()

        await heard_by(heard, sender)


async def test_a_process_may_start_while_redis_is_away(
    layers: Callable[[], RedisPubSubChannelLayer], redis: Switchboard
) -> None:
    heard = asyncio.Event()
    await asyncio.to_thread(redis.cut)
    async with (
        relaying(layers(), lambda: None) as sender,
        relaying(layers(), heard.set, retry_seconds=0.05),
    ):
        await sender.announce()

        await asyncio.to_thread(redis.mend)

        await heard_by(heard, sender)


async def test_a_commit_elsewhere_reaches_a_runtime_that_never_polls(
    layers: Callable[[], RedisPubSubChannelLayer], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = layers()
    monkeypatch.setattr(runtime, "get_channel_layer", lambda: mine)
    heard = asyncio.Event()
    async with (
        relaying(layers(), lambda: None) as elsewhere,
        runtime.running(poll_seconds=NEVER_SECONDS, heard_seconds=NEVER_SECONDS, jobs=()) as here,
    ):
        monkeypatch.setattr(hints, "_listener", None)  # as if another process committed
        here.on_change("tokens", lambda ids, keys: heard.set())

        await asyncio.to_thread(_publish, "tokens")

        await heard_by(heard, elsewhere)
    await mine.flush()


def _publish(key: str) -> None:
    try:
        with transaction.atomic():
            changes.publish(key, now=NOW)
    finally:
        connections.close_all()
