"""Which handler a request leads to."""

from typing import Any

import pytest

from meshcore.aio.gateway.answers import Answer, Refused
from meshcore.aio.gateway.message import Request
from meshcore.aio.gateway.routes import Route, Routes
from tests.aio.gateway.wire import request_for


def saying(what: str) -> Any:
    async def handler(request: Request) -> Answer:
        return Answer(f"{what} {request.parts}".encode())

    return handler


ROUTES = Routes(
    [
        Route("GET", "/things", saying("list")),
        Route("POST", "/things", saying("make")),
        Route("GET", "/things/{id}/parts", saying("parts")),
        Route("POST", "/things/{id}", saying("change")),
        Route("GET", "/models/{name+}", saying("model")),
    ]
)


async def asked(method: str, path: str) -> str:
    answer = await ROUTES(request_for(path, method))
    assert answer is not None
    return answer.body.decode()


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/things", "list {}"),
        ("HEAD", "/things", "list {}"),
        ("POST", "/things", "make {}"),
        ("GET", "/things/7/parts", "parts {'id': '7'}"),
        ("POST", "/things/7", "change {'id': '7'}"),
        ("GET", "/models/a/b.c", "model {'name': 'a/b.c'}"),
    ],
)
async def test_a_request_goes_where_its_method_and_path_say(method: str, path: str, answer: str) -> None:
    assert await asked(method, path) == answer


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/nowhere", 404, "not_found", None),
        ("GET", "/things/7/8/parts", 404, "not_found", None),
        ("GET", "/models/", 404, "not_found", None),
        ("DELETE", "/things", 405, "method_not_allowed", "GET,HEAD,POST"),
        ("HEAD", "/things/7", 405, "method_not_allowed", "POST"),
    ],
)
async def test_without_a_route_a_request_is_refused(
    method: str, path: str, status: int, code: str, allow: str | None
) -> None:
    with pytest.raises(Refused, match=f"{method} {path}: ") as caught:
        await asked(method, path)

    answer = caught.value.answer
    assert answer.status == status
    assert code.encode() in answer.body
    assert answer.headers.get("Allow") == allow
