"""What a node refuses although each single value is fine: contradictions, and settings that aren't safe.

Beyond loopback a node wants API keys and a mesh secret, and it speaks plain http only when told so
(bus-and-breaker §5).
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from meshcore.alias import PREFIX
from meshcore.config_reader import Reader
from meshcore.config_sections import NodeConfig, ProviderKind
from meshcore.config_values import is_plain_beyond_loopback
from meshcore.errors import ConfigError

TRUSTED_NETWORK = "gateway.allow_plain_http = true in a network you trust"
RESERVED = PREFIX.rstrip("/")  # no provider's name: nobody could ask for its models
WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never bound to


def refuse_contradictions(reader: Reader, config: NodeConfig) -> None:
    """Raise ConfigError for the first pair of values that don't fit together."""
    _refuse_doubles(reader, "providers", (each.name for each in config.providers))
    for number, provider in enumerate(config.providers, 1):
        if provider.name == RESERVED:
            raise reader.complaint(
                f"providers[{number}].name", provider.name, f"another name: {PREFIX}NAME means an alias"
            )
    _refuse_doubles(reader, "peers", (each.id for each in config.peers))
    for number, peer in enumerate(config.peers, 1):
        if peer.id == config.node.id:
            raise reader.complaint(f"peers[{number}].id", peer.id, "another id than this node's own")
    runs = config.runs
    if runs.lease_seconds <= runs.heartbeat_seconds:
        raise reader.complaint(
            "runs.lease_seconds",
            runs.lease_seconds,
            f"more than runs.heartbeat_seconds, {runs.heartbeat_seconds:g}",
        )
    if config.node.listen.host in WILDCARDS and not config.node.advertise:
        raise ConfigError(
            f"{reader.file}: node.advertise is missing: expected how peers reach this node,"
            f" which listens on all of its addresses"
        )
    _refuse_unclear_secrets(reader, config)
    _refuse_upstreams_without_address(reader, config)


def _refuse_doubles(reader: Reader, name: str, ids: Iterable[str]) -> None:
    for each, count in Counter(ids).items():
        if count > 1:
            raise reader.complaint(name, each, f"each name once, not {count} times")


def _refuse_unclear_secrets(reader: Reader, config: NodeConfig) -> None:
    if config.node.mesh_secret_env and config.node.mesh_secret_file:
        raise ConfigError(f"{reader.file}: node: expected mesh_secret_env or mesh_secret_file, not both")
    if config.dashboard and bool(config.dashboard.token_env) == bool(config.dashboard.token_file):
        raise ConfigError(f"{reader.file}: dashboard: expected either token_env or token_file")
    for number, each in enumerate(config.providers, 1):
        if each.api_key_env and each.api_key_file:
            raise ConfigError(
                f"{reader.file}: providers[{number}]: expected api_key_env or api_key_file, not both"
            )


def _refuse_upstreams_without_address(reader: Reader, config: NodeConfig) -> None:
    for number, each in enumerate(config.providers, 1):
        if each.kind is ProviderKind.OPENAI and not each.base_url:
            raise ConfigError(
                f"{reader.file}: providers[{number}].base_url is missing: expected the address of an"
                " OpenAI-compatible upstream, such as http://127.0.0.1:11434/v1"
            )


def refuse_unsafe(reader: Reader, config: NodeConfig) -> None:
    """Raise ConfigError for the first setting that would open the node or send secrets in the clear."""
    node, secrets = config.node, config.secrets
    if config.peers and not secrets.mesh_secret:
        raise ConfigError(
            f"{reader.file}: node.mesh_secret_env is missing: calls between peers are signed with it"
        )
    if not node.listen.loopback:
        _refuse_open_door(reader, config)
    if not config.gateway.allow_plain_http:
        for key, url in _plain_addresses(config):
            raise reader.complaint(key, url, f"https:// beyond loopback, or {TRUSTED_NETWORK}")


def _refuse_open_door(reader: Reader, config: NodeConfig) -> None:
    listen = str(config.node.listen)
    if not config.secrets.api_keys:
        raise reader.complaint("node.listen", listen, "node.api_keys_env beside an address beyond loopback")
    if not config.secrets.mesh_secret:
        raise reader.complaint(
            "node.listen", listen, "node.mesh_secret_env beside an address beyond loopback"
        )
    if not config.gateway.allow_plain_http:
        raise reader.complaint(
            "node.listen", listen, f"a loopback address behind a TLS proxy, or {TRUSTED_NETWORK}"
        )


def _plain_addresses(config: NodeConfig) -> Iterator[tuple[str, str]]:
    addresses = [("node.advertise", config.node.advertise)]
    if config.dashboard:
        addresses.append(("dashboard.url", config.dashboard.url))
    addresses += [(f"providers[{n}].base_url", each.base_url) for n, each in enumerate(config.providers, 1)]
    addresses += [(f"peers[{n}].url", each.url) for n, each in enumerate(config.peers, 1)]
    for key, url in addresses:
        if is_plain_beyond_loopback(url):
            yield key, url
