"""Static files come from the apps' own folders, with DEBUG off and nothing collected."""

from typing import Any

from channels.testing import HttpCommunicator
from django.conf import settings

from dashboard.edge.static import with_static_files


async def other(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_htmx_and_its_websocket_extension_are_there_in_a_fresh_checkout() -> None:
    assert settings.DEBUG is False
    application = with_static_files(other)

    for name in ("htmx-2.min.js", "ext/hx-ws-2.min.js"):
        communicator = HttpCommunicator(application, "GET", f"/static/django_htmx/{name}")
        response = await communicator.get_response(timeout=10)
        headers = dict(response["headers"])

        assert response["status"] == 200
        assert b"htmx" in response["body"]
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert b"access-control-allow-origin" not in headers
        await communicator.wait(timeout=10)


async def test_what_is_no_static_file_goes_to_the_application() -> None:
    application = with_static_files(other)

    for path in ("/", "/static/", "/static/../manage.py", "/static/nothing.js"):
        response = await HttpCommunicator(application, "GET", path).get_response(timeout=10)

        assert response["status"] == 204


def test_the_first_finder_that_has_a_file_wins() -> None:
    server = with_static_files(other)

    assert "/static/admin/css/base.css" in server.files
    assert len(server.files) == len(set(server.files))
