"""The page's server: switches turn, and only for this machine."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from meshcore.aio.demo.control import HEADERS, Control
from meshcore.aio.demo.mesh import DemoMesh
from meshcore.aio.demo.switches import FAULTS, ProviderFault
from meshcore.aio.demo.traffic import Traffic


@pytest.fixture
async def url(mesh: DemoMesh) -> AsyncIterator[str]:
    """The page of a mesh that doesn't run."""
    runner = web.AppRunner(Control(mesh, Traffic({})).build(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize("path", ["/", "/control.css", "/control.js", "/state"])
async def test_everything_comes_with_the_strict_policy(
    url: str, browser: aiohttp.ClientSession, path: str
) -> None:
    async with browser.get(url + path) as answer:
        assert answer.status == 200
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS


async def test_a_switch_turns_and_leads_back_to_the_page(
    url: str, browser: aiohttp.ClientSession, mesh: DemoMesh
) -> None:
    form = {"set": "node-a/alpha=fail"}
    async with browser.post(
        f"{url}/switch", data=form, headers={"Origin": url}, allow_redirects=False
    ) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/")

    assert mesh.faults["node-a/alpha"] is ProviderFault.FAIL
    assert mesh.mocks["node-a/alpha"].faults == FAULTS[ProviderFault.FAIL]
    async with browser.get(f"{url}/state") as answer:
        assert (await answer.json())["faults"]["node-a/alpha"] == "fail"


@pytest.mark.parametrize("text", ["", "node-a/alpha=explode", "node-z/alpha=fail", "node-z=kill"])
async def test_a_switch_that_is_not_there_is_refused_by_name(
    url: str, browser: aiohttp.ClientSession, mesh: DemoMesh, text: str
) -> None:
    async with browser.post(f"{url}/switch", data={"set": text}) as answer:
        assert answer.status == 400
        assert "expected" in await answer.text()

    assert set(mesh.faults.values()) == {ProviderFault.OK}


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"Host": "evil.example"}),
        ("POST", {"Host": "evil.example"}),
        ("POST", {"Origin": "http://evil.example"}),
        ("POST", {"Origin": "null"}),
        ("POST", {"Sec-Fetch-Site": "cross-site"}),
    ],
)
async def test_foreign_pages_and_names_are_kept_out(
    url: str, browser: aiohttp.ClientSession, mesh: DemoMesh, method: str, headers: dict[str, str]
) -> None:
    data = {"set": "node-a/alpha=fail"}
    path = "/switch" if method == "POST" else "/"
    async with browser.request(method, url + path, data=data, headers=headers) as answer:
        assert answer.status == 403

    assert mesh.faults["node-a/alpha"] is ProviderFault.OK


async def test_an_oversized_form_is_refused(url: str, browser: aiohttp.ClientSession) -> None:
    async with browser.post(f"{url}/switch", data={"set": "x" * 10_000}) as answer:
        assert answer.status == 413
