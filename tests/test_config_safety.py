"""What a node refuses although each value is fine."""

import pytest

from meshcore.config import parse_config
from meshcore.config_sections import NodeConfig
from meshcore.errors import ConfigError

LOOPBACK = '[node]\nid = "node-a"\nlisten = "127.0.0.1:8101"\nhome = "home"\n'
SECRETS = 'api_keys_env = "KEYS"\nmesh_secret_env = "SECRET"\n'
OPEN = '[node]\nid = "node-a"\nlisten = "10.0.0.1:8101"\nhome = "home"\n'
ALLOWED = "[gateway]\nallow_plain_http = true\n"
PEER = '[[peers]]\nid = "node-b"\nurl = "{}"\n'
PROVIDER = '[[providers]]\nname = "p"\nbase_url = "{}"\n'


def parse(text: str) -> NodeConfig:
    def read_file(path: str) -> str:
        return "secret"

    environ = {"KEYS": "k", "SECRET": "s", "TOKEN": "t"}
    return parse_config(text, path="/node.toml", environ=environ, read_file=read_file)


def test_beyond_loopback_with_keys_secret_and_consent_is_accepted() -> None:
    text = OPEN + SECRETS + ALLOWED + PEER.format("http://10.0.0.2:1") + PROVIDER.format("http://10.0.0.3/v1")

    assert not parse(text).node.listen.loopback


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (OPEN + ALLOWED, "node.listen = '10.0.0.1:8101': expected node.api_keys_env beside"),
        (
            OPEN + 'api_keys_env = "KEYS"\n' + ALLOWED,
            "node.listen = '10.0.0.1:8101': expected node.mesh_secret_env beside",
        ),
        (OPEN + SECRETS, "node.listen = '10.0.0.1:8101': expected a loopback address behind a TLS proxy, or"),
        (
            LOOPBACK + SECRETS + PEER.format("http://10.0.0.2:1"),
            "peers[1].url = 'http://10.0.0.2:1': expected https:// beyond loopback, or gateway.allow",
        ),
        (
            LOOPBACK + PROVIDER.format("http://h/v1"),
            "providers[1].base_url = 'http://h/v1': expected https://",
        ),
        (LOOPBACK + 'advertise = "http://h"', "node.advertise = 'http://h': expected https://"),
        (
            LOOPBACK + '[dashboard]\nurl = "http://h"\ntoken_env = "TOKEN"',
            "dashboard.url = 'http://h': expected https://",
        ),
        (LOOPBACK + PEER.format("http://127.0.0.1:1"), "node.mesh_secret_env is missing"),
    ],
)
def test_an_open_or_plain_setting_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(text)

    assert str(refusal.value).startswith(f"/node.toml: {complaint}")


def test_https_beyond_loopback_needs_no_consent() -> None:
    text = (
        LOOPBACK + SECRETS + PEER.format("https://node-b.example") + PROVIDER.format("https://api.example/v1")
    )

    assert parse(text).peers[0].url == "https://node-b.example"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (PROVIDER.format("http://[::1]/v1") * 2, "providers = 'p': expected each name once, not 2 times"),
        (
            PROVIDER.format("http://[::1]/v1").replace('"p"', '"mesh"'),
            "providers[1].name = 'mesh': expected another name: mesh/NAME means an alias",
        ),
        (PEER.format("http://[::1]") * 3, "peers = 'node-b': expected each name once, not 3 times"),
        (PEER.format("http://[::1]").replace("-b", "-a"), "peers[1].id = 'node-a': expected another id"),
        (
            "[runs]\nlease_seconds = 1.0",
            "runs.lease_seconds = 1.0: expected more than runs.heartbeat_seconds, 1",
        ),
        ("[[providers]]\nname = 'p'", "providers[1].base_url is missing: expected the address of an OpenAI"),
        (
            PROVIDER.format("http://[::1]") + 'api_key_env = "A"\napi_key_file = "b"',
            "providers[1]: expected api_key_env or api_key_file, not both",
        ),
        ('[dashboard]\nurl = "http://[::1]"', "dashboard: expected either token_env or token_file"),
        (
            '[dashboard]\nurl = "http://[::1]"\ntoken_env = "A"\ntoken_file = "b"',
            "dashboard: expected either token_env or token_file",
        ),
    ],
)
def test_a_contradiction_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(LOOPBACK + SECRETS + text)

    assert str(refusal.value).startswith(f"/node.toml: {complaint}")


def test_whoever_listens_everywhere_says_how_peers_reach_it() -> None:
    text = OPEN.replace("10.0.0.1", "0.0.0.0") + SECRETS

    with pytest.raises(ConfigError, match=r"node\.advertise is missing: expected how peers reach this node"):
        parse(text + ALLOWED)

    assert parse(text + 'advertise = "https://node-a.example"\n' + ALLOWED)
