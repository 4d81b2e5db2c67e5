"""Keys come from the environment or from files, and are told to nobody but those they are for."""

import urllib.error
import urllib.request
from pathlib import Path

import openai
import pytest

from tests.e2e.calls import MODEL, chunks, say
from tests.e2e.harness import Mesh, Node, ask, free_port

pytestmark = pytest.mark.e2e

SECRETS = {
    "NODE_API_KEYS": "billing:sk-client-swordfish",
    "FROM_ENV": "sk-upstream-swordfish-1",
    "MESH_SECRET": "swordfish-of-the-mesh",
}
SETTINGS = """
[[providers]]
name = "alive"
base_url = "{alive}/v1"
models = ["mock-model"]
api_key_env = "FROM_ENV"
[[providers]]
name = "refuses"
base_url = "{alive}/nowhere"
models = ["refused-model"]
api_key_file = "{key_file}"
[[providers]]
name = "dead"
base_url = "http://127.0.0.1:{port}/v1"
models = ["dead-model"]
api_key_file = "{key_file}"
[probe]
interval_seconds = 0.2
"""


def error_of(node: Node, key: str, model: str) -> str:
    """Return everything that a client is told with its error."""
    with (
        openai.OpenAI(base_url=f"{node.url}/v1", api_key=key, max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(model=model, messages=say("hi"))
    return f"{caught.value.response.headers} {caught.value.response.text}"


def page(node: Node, path: str) -> str:
    """Return a page of the node's own, to whoever asks without a key."""
    try:
        with ask(f"{node.url}{path}") as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.read().decode()


def forged(node: Node) -> str:
    """Return what a peer is told that doesn't know the secret."""
    request = urllib.request.Request(f"{node.url}/bus/v1/call", data=b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(request)
    with caught.value as answer:
        return answer.read().decode()


def test_no_key_is_in_logs_errors_pages_or_files(mesh: Mesh) -> None:
    mock = mesh.mock("alive")
    key_file = mesh.folder / "upstream.key"
    key_file.write_text("sk-upstream-swordfish-2\n")
    key_file.chmod(0o600)
    node = mesh.node("node-a", env=SECRETS)
    extra = SETTINGS.format(alive=mock.url, key_file=key_file, port=free_port())
    mesh.configure(node, providers={}, extra=extra)
    config = node.config.read_text().replace("[node]", '[node]\napi_keys_env = "NODE_API_KEYS"')
    node.config.write_text(config)
    node.start_and_wait()
    key = "sk-client-swordfish"

    with openai.OpenAI(base_url=f"{node.url}/v1", api_key=key, max_retries=0) as client:
        answer = client.chat.completions.create(model=MODEL, messages=say("many:2"))
    told = [error_of(node, key, model) for model in ("refused-model", "dead-model", "unknown-model")]
    told += [error_of(node, f"{key}-not-quite", MODEL), forged(node)]
    told += [page(node, path) for path in ("/metrics", "/healthz", "/readyz", "/v1/health", "/v1/models")]
    node.end()

    assert answer.choices[0].message.content == chunks(2)
    assert len(node.log_file.read_text()) > 0
    told += [node.log_file.read_text(), node.output(), mock.log_file.read_text(), repr(node.argv)]
    told += [path.read_bytes().decode("latin-1") for path in files_below(node.home)]
    assert [text for text in told if "swordfish" in text] == []


def files_below(folder: Path) -> list[Path]:
    """Return every file in a folder, however deep."""
    return [path for path in folder.rglob("*") if path.is_file()]
