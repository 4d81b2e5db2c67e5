"""`python -m meshcore node`: a gateway node from its configuration file, until it is told to stop."""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from meshcore.aio.alias_file import AliasFile
from meshcore.aio.logs import set_up_logs
from meshcore.aio.node import run_node
from meshcore.config import parse_config
from meshcore.config_sections import NodeConfig
from meshcore.errors import AlreadyRunning, ConfigError, IdentityTaken

FILE_MAX_BYTES = 1 << 20  # of a configuration or a secret; what is longer isn't one
BAD_CONFIGURATION = 78  # EX_CONFIG of sysexits.h
FAILED = 1
GC_THRESHOLDS = gc.get_threshold()  # Python's own
YOUNG_OBJECTS = 10_000  # more than dozens of calls hold at once: what dies with them is not looked at before


def main(argv: Sequence[str]) -> int:
    """Run or check a node; prints `ready URL` once it listens. Returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        config = load_config(options.config, os.environ)
    except ConfigError as exc:
        print(f"node: {exc}", file=sys.stderr)
        return BAD_CONFIGURATION
    if options.check:
        print(f"{options.config}: good")
        return 0
    path = options.config.absolute()
    alias_file = AliasFile(path, lambda: load_config(path, os.environ).aliases)
    return _run(config, alias_file, lifeline=options.lifeline)


def load_config(path: Path, environ: Mapping[str, str]) -> NodeConfig:
    """Return the settings in the file at `path`; raises ConfigError."""
    path = path.absolute()
    try:
        text = read_file(str(path))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: can't be read: {_why(exc)}") from exc
    return parse_config(text, path=str(path), environ=environ, read_file=read_file)


def _why(exc: OSError | UnicodeDecodeError) -> str:
    """Return the reason alone; the sentence has the path already."""
    return getattr(exc, "strerror", None) or str(exc)


def read_file(path: str) -> str:
    """Return a small text file; raises OSError or UnicodeDecodeError."""
    with Path(path).open("rb") as file:
        data = file.read(FILE_MAX_BYTES + 1)
    if len(data) > FILE_MAX_BYTES:
        raise OSError(f"longer than {FILE_MAX_BYTES} bytes")
    return data.decode("utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m meshcore node", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the node's TOML file")
    parser.add_argument("--check", action="store_true", help="only check the configuration")
    parser.add_argument(
        "--lifeline",
        action="store_true",
        help="stop when standard input ends: for supervisors that must not leave a node behind",
    )
    return parser


def _run(config: NodeConfig, alias_file: AliasFile, *, lifeline: bool) -> int:
    set_up_logs()
    try:
        asyncio.run(run_node(config, announce=_announce, lifeline=lifeline, alias_file=alias_file))
    except (AlreadyRunning, IdentityTaken) as exc:
        print(f"node: {exc}", file=sys.stderr)
        return FAILED
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        print(f"node: {where}{_why(exc)}", file=sys.stderr)
        return FAILED
    finally:
        gc.unfreeze()
        gc.set_threshold(*GC_THRESHOLDS)
    return 0


def _announce(url: str) -> None:
    gc.freeze()  # what is there now stays: collections, which stop every call, needn't look at it again
    gc.set_threshold(YOUNG_OBJECTS, *GC_THRESHOLDS[1:])
    print(f"ready {url}", flush=True)
