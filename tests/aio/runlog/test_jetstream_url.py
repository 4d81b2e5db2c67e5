"""Where a log in JetStream is."""

import pytest

from meshcore.aio.runlog.jetstream_url import Place
from meshcore.errors import ConfigError


def test_a_url_names_server_prefix_and_replicas() -> None:
    plain = Place.parse("nats://127.0.0.1")
    full = Place.parse("nats://[::1]:4300/?prefix=night-run&replicas=3")

    assert (plain.server, plain.runs, plain.replicas) == ("nats://127.0.0.1:4222", "MESH_RUNS", 1)
    assert (full.server, full.state, full.replicas) == ("nats://[::1]:4300", "NIGHT-RUN_STATE", 3)
    assert (full.subject("run", "x"), full.subject("log_id")) == ("night-run.run.x", "night-run.log_id")


@pytest.mark.parametrize(
    "url",
    [
        "nats://",
        "nats://host:99999",
        "nats://host/path",
        "nats://host?replicas=0",
        "nats://host?replicas=6",
        "nats://host?replicas=many",
        "nats://host?prefix=a.b",
        "nats://host?prefix=",
        "nats://host?password=x",
        "nats://host?replicas",
        "http://host",
    ],
)
def test_another_url_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(ConfigError, match="expected nats://HOST:PORT"):
        Place.parse(url)
