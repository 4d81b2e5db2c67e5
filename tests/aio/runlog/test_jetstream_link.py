"""What a JetStream log makes of the answers to its requests; tests/engines has the link on real servers."""

import pytest
from nats.errors import TimeoutError as NoAnswer
from nats.js.errors import APIError, NotFoundError

from meshcore.aio.runlog.base import Conflict, EngineGone
from meshcore.aio.runlog.jetstream_link import CONFLICTS, Link, asked_of, found_by
from meshcore.aio.runlog.jetstream_url import Place
from tests.e2e.harness import free_port


async def answer(error: Exception) -> None:
    raise error


async def heard(_: object) -> None:
    raise AssertionError


@pytest.mark.parametrize("code", sorted(CONFLICTS))
async def test_a_wrong_last_sequence_is_a_conflict_whichever_part_of_the_server_says_so(code: int) -> None:
    with pytest.raises(Conflict):
        await asked_of(answer(APIError(code=400, description="wrong last sequence", err_code=code)))


@pytest.mark.parametrize(
    "error",
    [APIError(code=503, description="no room", err_code=10047), NoAnswer(), ConnectionResetError()],
)
async def test_whatever_else_goes_wrong_the_engine_is_gone(error: Exception) -> None:
    with pytest.raises(EngineGone):
        await asked_of(answer(error))


async def test_what_is_not_there_is_none() -> None:
    assert await found_by(answer(NotFoundError())) is None


async def test_a_link_to_nobody_says_so() -> None:
    link = Link(Place(host="127.0.0.1", port=free_port()), on_record=heard, on_lost=lambda: None)

    with pytest.raises(EngineGone):
        await link.connect()
