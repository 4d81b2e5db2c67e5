"""Secrets: found where the configuration says, missed loudly, never repeated."""

from collections.abc import Mapping

import pytest

from meshcore.config import parse_config
from meshcore.config_sections import Secrets
from meshcore.errors import ConfigError

NODE = """
[node]
id = "node-a"
listen = "127.0.0.1:8101"
home = "home"
"""
DASHBOARD = '[dashboard]\nurl = "http://127.0.0.1:8000"\n'
PROVIDER = '[[providers]]\nname = "groq"\nbase_url = "http://127.0.0.1:1/v1"\n'


def secrets_of(text: str, environ: Mapping[str, str], files: Mapping[str, str]) -> Secrets:
    def read_file(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    return parse_config(text, path="/etc/node.toml", environ=environ, read_file=read_file).secrets


def test_a_token_file_is_read_beside_the_configuration() -> None:
    text = NODE + DASHBOARD + 'token_file = "token"'

    assert secrets_of(text, {}, {"/etc/token": "msh_token\n"}).dashboard_token == "msh_token"


def test_the_mesh_secret_comes_from_a_file_or_a_variable() -> None:
    in_file = NODE + 'mesh_secret_file = "secrets/mesh"\n'
    in_variable = NODE + 'mesh_secret_env = "SECRET"\n'

    assert secrets_of(in_file, {}, {"/etc/secrets/mesh": "of-the-mesh\n"}).mesh_secret == "of-the-mesh"
    assert secrets_of(in_variable, {"SECRET": "of-the-mesh"}, {}).mesh_secret == "of-the-mesh"


def test_two_sources_of_the_mesh_secret_are_refused() -> None:
    text = NODE + 'mesh_secret_file = "mesh"\nmesh_secret_env = "SECRET"\n'

    with pytest.raises(ConfigError, match="node: expected mesh_secret_env or mesh_secret_file, not both"):
        secrets_of(text, {"SECRET": "s"}, {"/etc/mesh": "s"})


def test_a_provider_has_its_key_from_environment_or_file() -> None:
    text = NODE + PROVIDER + 'api_key_env = "GROQ_KEY"\n' + PROVIDER.replace("groq", "vllm")

    secrets = secrets_of(text + 'api_key_file = "/run/key"', {"GROQ_KEY": "gsk"}, {"/run/key": "vk"})

    assert secrets.provider_keys == {"groq": "gsk", "vllm": "vk"}


def test_a_provider_without_a_key_has_an_empty_one() -> None:
    assert secrets_of(NODE + PROVIDER, {}, {}).provider_keys == {"groq": ""}


@pytest.mark.parametrize("environ", [{}, {"KEYS": ""}, {"KEYS": "two words"}, {"KEYS": "line\nbreak"}])
def test_a_variable_without_a_usable_secret_stops_the_start(environ: dict[str, str]) -> None:
    text = NODE.replace("home =", 'api_keys_env = "KEYS"\nhome =')

    with pytest.raises(
        ConfigError, match=r"node\.api_keys_env = 'KEYS': expected the name of an env"
    ) as refusal:
        secrets_of(text, environ, {})

    assert "two words" not in str(refusal.value)


@pytest.mark.parametrize("files", [{}, {"/etc/token": " \n"}, {"/etc/token": "a b"}])
def test_a_file_without_a_usable_secret_stops_the_start(files: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"dashboard\.token_file = '/etc/token': expected a readable file"):
        secrets_of(NODE + DASHBOARD + 'token_file = "token"', {}, files)


@pytest.mark.parametrize("keys", [",", "alice:", ":k1", "k1,bob:", "a:b:c"])
def test_api_keys_of_another_form_stop_the_start(keys: str) -> None:
    text = NODE.replace("home =", 'api_keys_env = "KEYS"\nhome =')

    with pytest.raises(ConfigError, match=r"expected the name of an environment variable with API keys"):
        secrets_of(text, {"KEYS": keys}, {})


def test_a_secret_in_the_place_of_a_variable_name_is_not_repeated() -> None:
    text = NODE + PROVIDER + 'api_key_env = "gsk_very-secret"'

    with pytest.raises(ConfigError, match=r"providers\[1\]\.api_key_env: expected the name") as refusal:
        secrets_of(text, {}, {})

    assert "gsk" not in str(refusal.value)


def test_the_text_form_of_secrets_shows_none() -> None:
    assert repr(Secrets(api_keys=("k",), mesh_secret="m", dashboard_token="t", provider_keys={"p": "x"})) == (
        "Secrets()"
    )
