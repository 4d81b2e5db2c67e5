"""Health, readiness and metrics."""

from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshcore.aio.gateway import operator_routes
from meshcore.aio.providers import EchoProvider, UnavailableProvider
from meshcore.drain import DrainPolicy


async def test_a_node_is_alive_and_ready(node: Any, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{node.url}/healthz") as alive, http.get(f"{node.url}/readyz") as ready:
        assert (alive.status, ready.status) == (200, 200)
        assert await ready.json() == {"status": "ready"}


async def test_a_draining_node_is_alive_and_not_ready(node: Any, http: aiohttp.ClientSession) -> None:
    node.controller.enter()

    async with http.get(f"{node.url}/healthz") as alive, http.get(f"{node.url}/readyz") as ready:
        assert (alive.status, ready.status) == (200, 503)
        assert await ready.json() == {"status": "drained", "safe_to_stop": True}
        assert ready.headers["Retry-After"] == "5"


async def test_a_joining_node_is_not_ready(start_node: Any, http: aiohttp.ClientSession) -> None:
    node = await start_node("node-a", policy=DrainPolicy(join_wait_seconds=60))

    async with http.get(f"{node.url}/readyz") as ready:
        assert (ready.status, await ready.json()) == (503, {"status": "joining", "safe_to_stop": False})


@pytest.mark.parametrize(("failed", "status"), [(0, "healthy"), (1, "degraded"), (2, "unhealthy")])
async def test_case_18_health_sums_up_the_breakers(
    start_node: Any, http: aiohttp.ClientSession, failed: int, status: str
) -> None:
    node = await start_node("node-a", EchoProvider("alpha"), UnavailableProvider("beta"))
    for name in ("alpha", "beta")[:failed]:
        node.bus.health.mark_unhealthy(name, "down")
        node.bus.health.mark_unhealthy(name, "down")

    async with http.get(f"{node.url}/v1/health") as answer:
        health = await answer.json()

    assert (health["status"], health["node"], health["state"]) == (status, "node-a", "running")
    assert set(health["providers"]) == {"alpha", "beta"}
    if failed:
        assert health["providers"]["alpha"]["state"] == "open"
        assert health["providers"]["alpha"]["status"] == "unhealthy"
        assert health["providers"]["alpha"]["last_error"] == "down"
        assert health["providers"]["alpha"]["seconds_remaining"] > 0


async def test_a_failed_peer_does_not_make_this_node_unhealthy(
    start_node: Any, http: aiohttp.ClientSession
) -> None:
    node = await start_node("node-a", EchoProvider("alpha"))
    node.bus.health.mark_unhealthy("node:node-b", "down")
    node.bus.health.mark_unhealthy("node:node-b", "down")

    async with http.get(f"{node.url}/v1/health") as answer:
        assert (await answer.json())["status"] == "healthy"


async def test_metrics_are_what_prometheus_reads(node: Any, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{node.url}/metrics") as answer:
        families = {family.name for family in text_string_to_metric_families(await answer.text())}

    assert answer.headers["Content-Type"].startswith("text/plain")
    assert {"mesh_build_info", "mesh_node_in_flight_requests"} <= families


async def test_health_wants_a_key_and_metrics_too_beyond_loopback(
    start_node: Any, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await start_node("node-a", api_keys=("sk-1",))

    async def status(path: str, key: str = "") -> int:
        async with http.get(node.url + path, headers={"Authorization": f"Bearer {key}"}) as answer:
            return answer.status

    assert await status("/v1/health") == 401
    assert await status("/v1/health", "sk-1") == 200
    assert await status("/metrics") == 200
    monkeypatch.setattr(operator_routes, "is_loopback", lambda _: False)
    assert await status("/metrics") == 401
    assert await status("/metrics", "sk-1") == 200
    assert await status("/healthz") == await status("/readyz") == 200


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        (None, False),
    ],
)
def test_loopback_is_known_in_both_families(address: str | None, loopback: bool) -> None:
    assert operator_routes.is_loopback(address) is loopback
