"""Each connection goes to whom its path belongs."""

import pytest
from channels.testing import HttpCommunicator, WebsocketCommunicator

from dashboard.asgi import EDGE, SOCKETS, application
from dashboard.edge.link import LinkConsumer
from dashboard.live.browser import LiveConsumer


def test_nodes_and_pages_have_a_socket_each() -> None:
    consumers = {path: socket.consumer_class for path, socket in SOCKETS.items()}

    assert consumers == {"/link/v1": LinkConsumer, "/live": LiveConsumer}


async def test_a_socket_that_nobody_serves_is_refused() -> None:
    wire = WebsocketCommunicator(application, "/nobody")

    accepted, _ = await wire.connect(timeout=10)

    assert not accepted
    await wire.wait(timeout=10)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/healthz", b"application/json"),
        ("/static/django_htmx/htmx-2.min.js", b'text/javascript; charset="utf-8"'),
        ("/nowhere/", b"text/html; charset=utf-8"),
    ],
)
@pytest.mark.django_db(transaction=True)
async def test_the_edge_comes_first_then_static_files_then_django(path: str, kind: bytes) -> None:
    assert set(EDGE) == {"/healthz", "/metrics", "/api/v1/events", "/api/v1/ingest"}

    wire = HttpCommunicator(application, "GET", path, headers=[(b"host", b"127.0.0.1:8000")])
    response = await wire.get_response(timeout=30)
    await wire.wait(timeout=30)

    assert {name.lower(): value for name, value in response["headers"]}[b"content-type"] == kind
