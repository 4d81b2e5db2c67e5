"""What the demo mesh consists of, and the files from which its nodes start."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshcore.aio.atomic_file import replace_file
from meshcore.aio.demo.ports import HOST
from meshcore.config import OVERRIDE_PREFIXES

NODES = ("node-a", "node-b", "node-c")
PROVIDERS = {"alpha": "mock-fast", "beta": "mock-deep"}  # provider -> the model that it serves, on each node
MESH_SECRET = "MESH_SECRET"  # noqa: S105 - the name of the variable, not the secret

NODE_TOML = """\
# Written by the demo at each start.
[node]
id = {id}
listen = {listen}
advertise = {url}
home = {home}
mesh_secret_env = "MESH_SECRET"

[dashboard]
url = {dashboard}
token_file = {token_file}

[runs]
log = {log}

[breaker]
backoff_seconds = 15.0   # short, so that a recovery can be watched
[probe]
interval_seconds = 5.0
"""
PROVIDER_TOML = """
[[providers]]
name = {name}
kind = "openai"
base_url = {base_url}
models = [{model}]
max_concurrent = 16
connect_seconds = 1.0
first_token_seconds = 4.0
between_tokens_seconds = 4.0
continuation = "prefill"
"""
PEER_TOML = """
[[peers]]
id = {id}
url = {url}
"""


def preferred_ports() -> dict[str, int]:
    """Return the names of all ports of the demo, with the one to try first; 0: any."""
    nodes = {node: 8101 + number for number, node in enumerate(NODES)}
    mocks = {f"{node}/{provider}": 0 for node in NODES for provider in PROVIDERS}
    return {"control": 8110, **nodes, **mocks}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where the demo's things are. `folder` holds its files; `token_files` has one for each node."""

    folder: Path
    dashboard_url: str
    mesh_secret: str
    token_files: Mapping[str, Path]
    ports: Mapping[str, int]

    def url(self, name: str) -> str:
        """Return the address of a node, of a mock (`NODE/PROVIDER`) or of `control`."""
        return f"http://{HOST}:{self.ports[name]}"

    def config_file(self, node: str) -> Path:
        """Return where the configuration of a node is."""
        return self.folder / f"{node}.toml"

    def node_toml(self, node: str) -> str:
        """Return the configuration of a node."""
        parts = [
            NODE_TOML.format(
                id=_quoted(node),
                listen=_quoted(f"{HOST}:{self.ports[node]}"),
                url=_quoted(self.url(node)),
                home=_quoted(str(self.folder / node)),
                dashboard=_quoted(self.dashboard_url),
                token_file=_quoted(str(self.token_files[node])),
                log=_quoted(f"sqlite:///{self.folder}/runs.sqlite3"),  # of all: a run outlives its node
            )
        ]
        for provider, model in PROVIDERS.items():
            base_url = _quoted(f"{self.url(f'{node}/{provider}')}/v1")
            parts.append(
                PROVIDER_TOML.format(name=_quoted(provider), base_url=base_url, model=_quoted(model))
            )
        parts += [
            PEER_TOML.format(id=_quoted(each), url=_quoted(self.url(each))) for each in NODES if each != node
        ]
        return "".join(parts)

    def write(self) -> None:
        """Write the configuration of every node."""
        for node in NODES:
            replace_file(self.config_file(node), self.node_toml(node).encode())

    def environment(self) -> dict[str, str]:
        """Return the environment of the nodes: this process's own, without overrides of a node's settings."""
        inherited = {
            name: text for name, text in os.environ.items() if not name.startswith(OVERRIDE_PREFIXES)
        }
        return inherited | {MESH_SECRET: self.mesh_secret}


def _quoted(text: str) -> str:
    # A TOML basic string has JSON's escapes, but no surrogates; and DEL must be escaped there.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
