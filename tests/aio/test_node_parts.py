"""The parts of a node: which of them a configuration has; test_node has all of them together."""

from pathlib import Path

import pytest

from meshcore.aio.health import ProviderHealthCache
from meshcore.aio.node_parts import drain_policy, make_bus, make_poller, make_providers, make_transport
from meshcore.alias import AliasBook
from meshcore.config import parse_config
from meshcore.config_sections import NodeConfig
from meshcore.testing import ManualClock

DASHBOARD = '[dashboard]\nurl = "http://127.0.0.1:8000"\ntoken_env = "T"\njoin_wait_seconds = 7\n'
PROVIDER = '[[providers]]\nname = "alpha"\nbase_url = "http://127.0.0.1:1/v1"\nmodels = ["m"]\n'


def config(folder: Path, *, secret: bool = True, extra: str = "") -> NodeConfig:
    tables = f'[node]\nid = "node-a"\nlisten = "127.0.0.1:0"\nhome = "{folder}"\n'
    tables += 'mesh_secret_env = "S"\n' if secret else ""

    def read_file(path: str) -> str:
        raise FileNotFoundError(path)

    environ = {"S": "of-the-mesh", "T": "msh_token"}
    return parse_config(tables + extra, path="/node.toml", environ=environ, read_file=read_file)


@pytest.mark.parametrize("secret", [True, False])
async def test_only_a_mesh_secret_leads_to_peers(tmp_path: Path, secret: bool) -> None:
    settings, clock = config(tmp_path, secret=secret), ManualClock()

    transport = make_transport(settings, clock=clock, utcnow=clock.utcnow)
    bus = make_bus(
        settings,
        transport,
        ProviderHealthCache(clock=clock, utcnow=clock.utcnow),
        AliasBook({}),
        draining=lambda: True,
        on_trace=lambda trace: None,
        clock=clock,
        utcnow=clock.utcnow,
    )

    assert bus.draining()
    assert (transport is not None, make_poller(settings, bus, transport) is not None) == (secret, secret)
    if transport is not None:
        await transport.close()


@pytest.mark.parametrize(("extra", "seconds"), [(DASHBOARD, 7.0), ("", 0.0)])
def test_only_a_dashboard_is_waited_for_before_a_node_joins(
    tmp_path: Path, extra: str, seconds: float
) -> None:
    assert drain_policy(config(tmp_path, extra=extra)).join_wait_seconds == seconds


async def test_each_provider_that_is_configured_is_made(tmp_path: Path) -> None:
    clock = ManualClock()

    [made] = make_providers(config(tmp_path, extra=PROVIDER), clock=clock, utcnow=clock.utcnow)

    assert made.name == "alpha"
    await made.close()
