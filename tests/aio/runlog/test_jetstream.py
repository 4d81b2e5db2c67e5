"""Run logs in JetStream, as far as no server is needed; tests/engines has the suite on real ones."""

import pytest

from meshcore.aio.runlog import open_run_log
from meshcore.aio.runlog.base import EngineGone
from tests.e2e.harness import free_port


async def test_a_server_that_isnt_there_is_said_at_once() -> None:
    url = f"nats://127.0.0.1:{free_port()}"

    with pytest.raises(EngineGone, match=url):
        await open_run_log(url)
