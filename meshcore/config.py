"""A node's configuration: one TOML file, with `MESH_<SECTION>_<KEY>` of the environment over it.

`parse_config` checks it as a whole and returns frozen settings, or raises `ConfigError` with file, key, value
and what is allowed; a secret is never part of that sentence. It is pure: text, environment and the reader of
secret files are given to it.
"""

import posixpath
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from meshcore import config_sections as sections
from meshcore.alias import parse_aliases
from meshcore.config_reader import Reader
from meshcore.config_safety import refuse_contradictions, refuse_unsafe
from meshcore.config_secrets import read_secrets
from meshcore.errors import ConfigError

SECTIONS = ("node", "dashboard", "runs", "bus", "gateway", "spool", "breaker", "probe")
TABLES = (*SECTIONS, "providers", "aliases", "peers")
OVERRIDE_PREFIXES = tuple(f"MESH_{section.upper()}_" for section in SECTIONS)
"""How the names of those environment variables begin that override a node's settings."""

PEERS_MAX = 128  # each is polled by a task of its own every 10 s


def parse_config(
    text: str, *, path: str, environ: Mapping[str, str], read_file: Callable[[str], str]
) -> sections.NodeConfig:
    """Return the settings in `text`, which is the file at `path`; raises ConfigError.

    `read_file` gets the path of a secret file and returns its text; it may raise OSError or
    UnicodeDecodeError.
    """
    reader = Reader(file=path, environ=environ)
    tables = _tables(text, reader)
    config = _read_sections(reader, tables, posixpath.dirname(path))
    refuse_contradictions(reader, config)
    config = replace(config, secrets=read_secrets(reader, config, read_file))
    refuse_unsafe(reader, config)
    return config


def _tables(text: str, reader: Reader) -> dict[str, Any]:
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ConfigError(f"{reader.file}: not TOML: {exc}") from exc
    for name in tables:
        if name not in TABLES:
            raise reader.complaint(name, None, f"one of the tables {', '.join(TABLES)}", secret=True)
    return tables


def _read_sections(reader: Reader, tables: dict[str, Any], folder: str) -> sections.NodeConfig:
    node = reader.section("node", sections.NodeSection, tables)
    secret_file = _from_folder(folder, node.mesh_secret_file)
    runs = reader.section("runs", sections.RunsSection, tables)
    return sections.NodeConfig(
        node=replace(node, home=_from_folder(folder, node.home), mesh_secret_file=secret_file),
        dashboard=_dashboard(reader, tables, folder),
        runs=replace(runs, log=_run_log_from_folder(folder, runs.log)),
        bus=reader.section("bus", sections.BusSection, tables),
        gateway=reader.section("gateway", sections.GatewaySection, tables),
        spool=reader.section("spool", sections.SpoolSection, tables),
        breaker=reader.section("breaker", sections.BreakerSection, tables),
        probe=reader.section("probe", sections.ProbeSection, tables),
        providers=tuple(
            replace(each, api_key_file=_from_folder(folder, each.api_key_file))
            for each in reader.entries("providers", sections.ProviderSection, tables)
        ),
        aliases=parse_aliases(tables.get("aliases", {}), source=reader.file),
        peers=reader.entries("peers", sections.PeerSection, tables, at_most=PEERS_MAX),
    )


def _dashboard(reader: Reader, tables: dict[str, Any], folder: str) -> sections.DashboardSection | None:
    if "dashboard" not in tables and not reader.overrides("dashboard"):
        return None
    dashboard = reader.section("dashboard", sections.DashboardSection, tables)
    return replace(dashboard, token_file=_from_folder(folder, dashboard.token_file))


def _from_folder(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path)) if path else ""


def _run_log_from_folder(folder: str, log: str) -> str:
    scheme, mark, path = log.partition("sqlite:///")
    return f"sqlite:///{_from_folder(folder, path)}" if mark and not scheme else log
