"""Where a node's secrets come from: the environment variable or the file that its configuration names.

A secret goes into one object whose text form shows nothing, and into no complaint.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from meshcore.config_reader import Reader
from meshcore.config_sections import NodeConfig, Secrets
from meshcore.errors import ConfigError

SECRET = re.compile(r"[!-~]{1,4096}")  # goes into HTTP headers: visible ASCII, no spaces
API_KEY = re.compile(r"(?:[^:]+:)?[^:]+")
IS_SET = "the name of an environment variable that is set to a secret (visible ASCII characters, no spaces)"
API_KEYS = "the name of an environment variable with API keys, KEY or NAME:KEY, comma-separated"
HOLDS_ONE = "a readable file with one secret (visible ASCII characters, no spaces)"


def read_secrets(reader: Reader, config: NodeConfig, read_file: Callable[[str], str]) -> Secrets:
    """Return every secret that `config` names; raises ConfigError for the first one that is missing."""
    source = _Source(reader, read_file)
    node, dashboard = config.node, config.dashboard
    return Secrets(
        api_keys=source.api_keys("node.api_keys_env", node.api_keys_env),
        mesh_secret=source.either("node.mesh_secret", node.mesh_secret_env, node.mesh_secret_file),
        dashboard_token=source.either("dashboard.token", dashboard.token_env, dashboard.token_file)
        if dashboard
        else "",
        provider_keys={
            each.name: source.either(f"providers[{number}].api_key", each.api_key_env, each.api_key_file)
            for number, each in enumerate(config.providers, 1)
        },
    )


@dataclass(frozen=True, slots=True)
class _Source:
    reader: Reader
    read_file: Callable[[str], str]

    def either(self, key: str, variable: str, path: str) -> str:
        return self.file(f"{key}_file", path) if path else self.variable(f"{key}_env", variable)

    def api_keys(self, key: str, name: str) -> tuple[str, ...]:
        entries = tuple(filter(None, self.variable(key, name).split(",")))
        if name and not (entries and all(map(API_KEY.fullmatch, entries))):
            raise self.reader.complaint(key, name, API_KEYS)
        return entries

    def variable(self, key: str, name: str) -> str:
        secret = self.reader.environ.get(name, "") if name else ""
        if name and not SECRET.fullmatch(secret):
            raise self.reader.complaint(key, name, IS_SET)
        return secret

    def file(self, key: str, path: str) -> str:
        try:
            secret = self.read_file(path).strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{self.reader.file}: {key} = {path!r}: expected {HOLDS_ONE}") from exc
        if not SECRET.fullmatch(secret):
            raise self.reader.complaint(key, path, HOLDS_ONE)
        return secret
