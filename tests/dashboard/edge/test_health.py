"""Whoever asks learns at once that the process is there."""

from channels.testing import HttpCommunicator

from dashboard.asgi import application


async def test_healthz_answers_without_a_database_and_without_a_login() -> None:
    response = await HttpCommunicator(application, "GET", "/healthz").get_response(timeout=10)

    assert (response["status"], response["body"]) == (200, b'{"status": "ok"}')
