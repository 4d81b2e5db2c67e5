"""A whole configuration file: what it becomes, and how it is refused."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.config import parse_config
from meshcore.config_sections import NodeConfig, ProviderKind, RunsSection
from meshcore.config_values import Address
from meshcore.errors import ConfigError

SMALL = """
[node]
id = "node-a"
listen = "127.0.0.1:8101"
home = "var/node-a"
"""

WHOLE = """
[node]
id = "node-a"
community = "lab"
listen = "127.0.0.1:8101"
advertise = "http://127.0.0.1:8101"
home = "var/node-a"
api_keys_env = "NODE_API_KEYS"
mesh_secret_env = "MESH_SECRET"

[dashboard]
url = "http://127.0.0.1:8000"
token_env = "NODE_TOKEN"
join_wait_seconds = 3.0

[runs]
log = "sqlite:///var/runs.db"
heartbeat_seconds = 1.0
lease_seconds = 4.0
on_broken_stream = "continue"
sync = "process"

[bus]
max_attempts = 3
[gateway]
max_streams = 7
[spool]
max_items = 2000
[breaker]
backoff_seconds = 15
[probe]
interval_seconds = 5.0

[[providers]]
name = "ollama"
kind = "openai"
base_url = "http://127.0.0.1:11434/v1/"
models = ["llama3"]
api_key_env = ""
max_concurrent = 64
connect_seconds = 5.0
first_token_seconds = 60.0
between_tokens_seconds = 60.0
tools = true
vision = false
continuation = "none"
[[providers]]
name = "echo"
kind = "echo"
models = ["echo-1"]

[aliases]
"mesh/fast" = ["ollama/llama3", "groq/llama-3.1-8b"]

[[peers]]
id = "node-b"
url = "http://127.0.0.1:8102"
"""

ENVIRON = {"NODE_API_KEYS": "alice:k1,k2", "MESH_SECRET": "of-the-mesh", "NODE_TOKEN": "msh_token"}


def no_files(path: str) -> str:
    raise FileNotFoundError(path)


def parse(text: str, environ: Mapping[str, str] | None = None) -> NodeConfig:
    return parse_config(text, path="/etc/mesh/node.toml", environ=environ or {}, read_file=no_files)


def test_the_smallest_file_gives_a_node_with_the_documented_defaults() -> None:
    config = parse(SMALL)

    assert config.node.listen == Address("127.0.0.1", 8101)
    assert config.dashboard is None
    assert config.runs == RunsSection()
    assert (config.bus.max_attempts, config.bus.freshness_seconds, config.bus.deadline_seconds) == (
        3,
        60,
        300,
    )
    assert (config.breaker.failure_threshold, config.breaker.backoff_seconds) == (2, 60)
    assert (config.providers, dict(config.aliases), config.peers) == ((), {}, ())


def test_the_whole_documented_file_is_accepted() -> None:
    config = parse(WHOLE, ENVIRON)

    assert config.secrets.api_keys == ("alice:k1", "k2")
    assert config.secrets.mesh_secret == "of-the-mesh"
    assert config.dashboard is not None
    assert config.secrets.dashboard_token == "msh_token"
    assert [each.kind for each in config.providers] == [ProviderKind.OPENAI, ProviderKind.ECHO]
    assert config.providers[0].base_url == "http://127.0.0.1:11434/v1"
    assert config.aliases["mesh/fast"] == ("ollama/llama3", "groq/llama-3.1-8b")
    assert config.peers[0].id == "node-b"
    assert (config.gateway.max_streams, config.breaker.backoff_seconds) == (7, 15.0)


def test_relative_paths_count_from_the_folder_of_the_file() -> None:
    config = parse(WHOLE, ENVIRON)

    assert config.node.home == "/etc/mesh/var/node-a"
    assert config.runs.log == "sqlite:////etc/mesh/var/runs.db"


@pytest.mark.parametrize("log", ["sqlite:////srv/runs.db", "memory:", "nats://127.0.0.1:4222"])
def test_an_absolute_run_log_stays_as_it_is(log: str) -> None:
    assert parse(SMALL + f'[runs]\nlog = "{log}"').runs.log == log


def test_the_environment_overrides_a_key_of_a_section() -> None:
    config = parse(SMALL, {"MESH_BUS_MAX_ATTEMPTS": "5", "MESH_NODE_LISTEN": "[::1]:0", "MESH_VAR": "/x"})

    assert config.bus.max_attempts == 5
    assert config.node.listen == Address("::1", 0)


def test_the_environment_alone_can_name_a_dashboard() -> None:
    environ = {
        "MESH_DASHBOARD_URL": "http://127.0.0.1:8000",
        "MESH_DASHBOARD_TOKEN_ENV": "NODE_TOKEN",
        "NODE_TOKEN": "msh_token",
    }

    config = parse(SMALL, environ)

    assert config.dashboard is not None
    assert config.secrets.dashboard_token == "msh_token"


def test_no_secret_is_in_the_text_form_of_the_settings() -> None:
    shown = repr(parse(WHOLE, ENVIRON))

    assert not any(secret in shown for secret in ("k1", "k2", "of-the-mesh", "msh_token"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[node", "not TOML: "),
        ("a = " + "[" * 3000, "not TOML: "),
        (SMALL + "[nodes]", "nodes: expected one of the tables node, dashboard, runs"),
        (SMALL + "[bus]\nmax_attempt = 3", "bus.max_attempt: expected one of the keys max_attempts, "),
        (SMALL + '[bus]\nmax_attempts = "3"', "bus.max_attempts = '3': expected an integer from 1 to 20"),
        ("[node]\nid = 1", "node.id = 1: expected 1 to 63 of a-z"),
        ('[node]\nid = "a"\nhome = "h"', "node.listen is missing: expected HOST:PORT"),
        ("node = 3", "node = 3: expected a table, written [node]"),
        (SMALL + "providers = 3", "node.providers: expected one of the keys id, "),
        (SMALL + "[providers]\n", "providers = {}: expected at most 1000 [[providers]] tables"),
        (SMALL + "[[peers]]\n" * 129, "peers = [{}, {}, "),
        (SMALL + "[[peers]]\nid = 'b'", "peers[1].url is missing: expected http://HOST"),
        (SMALL + "[aliases]\nfast = ['a/b']", "the name of aliases.'fast' = 'fast': expected mesh/NAME"),
        (
            SMALL + "[aliases]\n'mesh/fast' = 'a/b'",
            "aliases.'mesh/fast' = 'a/b': expected a list of at most 100",
        ),
        (SMALL + "[aliases]\n'mesh/fast' = []", "aliases.'mesh/fast' = []: expected at least one"),
        (SMALL + "[aliases]\n'mesh/fast' = ['llama']", "aliases.'mesh/fast' = ['llama']: expected a list"),
        ("aliases = 3\n" + SMALL, "aliases = 3: expected a table of at most 1000"),
    ],
)
def test_a_wrong_file_is_refused_by_file_key_value_and_what_is_allowed(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(text)

    assert str(refusal.value).startswith(f"/etc/mesh/node.toml: {complaint}")


@pytest.mark.parametrize(
    ("variable", "complaint"),
    [
        (
            "MESH_BUS_MAX_ATTEMPTS",
            "environment: MESH_BUS_MAX_ATTEMPTS='many': expected an integer from 1 to 20",
        ),
        ("MESH_BUS_ATTEMPTS", "environment: MESH_BUS_ATTEMPTS: expected one of MESH_BUS_MAX_ATTEMPTS, "),
        (
            "MESH_NODE_API_KEYS_ENV",
            "environment: MESH_NODE_API_KEYS_ENV: expected the name of an environment",
        ),
    ],
)
def test_a_wrong_override_is_refused_by_its_name(variable: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(SMALL, {variable: "many"})

    assert str(refusal.value).startswith(complaint)


@given(st.text(max_size=300))
def test_any_text_is_a_configuration_or_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)


TOML_VALUES = st.sampled_from(
    [
        *('""', '"x"', "0", "-1", "1e400", "nan", "inf", "true", "[]", "[1]", '[["a"]]', "{}", "{a = 1}"),
        *("1979-05-27", "9223372036854775807", '"\\u0000"', '"../../x"', '"http://u:p@h"', '"a\\nb"'),
    ]
)
LINES = WHOLE.splitlines()
KEYS = [number for number, line in enumerate(LINES) if " = " in line]


@given(changes=st.dictionaries(st.sampled_from(KEYS), TOML_VALUES, min_size=1, max_size=4))
def test_any_value_of_any_key_is_taken_or_refused_by_file_and_key(changes: dict[int, str]) -> None:
    changed = {number: f"{LINES[number].partition(' = ')[0]} = {text}" for number, text in changes.items()}
    lines = [changed.get(number, line) for number, line in enumerate(LINES)]

    complaint = complaint_of("\n".join(lines))

    assert complaint is None or complaint.startswith(("/etc/mesh/node.toml: ", "environment: "))
    assert not any(secret in (complaint or "") for secret in ("k1", "of-the-mesh", "msh_token"))


def complaint_of(text: str) -> str | None:
    """Return why a file is refused, None when it is taken."""
    try:
        parse(text, ENVIRON)
    except ConfigError as exc:
        return str(exc)
    return None
