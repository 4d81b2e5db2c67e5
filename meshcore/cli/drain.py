"""`python -m meshcore drain`: drain the node of this machine by its marker file, and wait for its end.

It needs no dashboard, so it is what a preStop hook runs. Exit codes: 0 safe to stop, or written and not
waited for; 2 time was up before; 5 no node answers; 78 the configuration is wrong.
"""

import argparse
import getpass
import http.client
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from meshcore.aio.marker_file import clear_drain_request, write_drain_request
from meshcore.cli.node import BAD_CONFIGURATION, load_config
from meshcore.config_safety import WILDCARDS
from meshcore.config_values import Address
from meshcore.errors import ConfigError

SAFE, FAILED, TIME_UP, UNREACHABLE = 0, 1, 2, 5
WAIT_MAX_SECONDS = 3000.0  # a marker that isn't written again is stale after an hour
LOOK_SECONDS = 0.5  # between two looks at the node
ANSWER_SECONDS = 5.0
ANSWER_MAX_BYTES = 4096


def main(argv: Sequence[str]) -> int:
    """Write or remove the marker, and wait if asked to; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        config = load_config(options.config, os.environ)
        home, listen = Path(config.node.home), config.node.listen
        if options.undo:
            print("it serves again" if clear_drain_request(home) else "nothing asked it to drain")
            return SAFE
        write_drain_request(home, principal=_whoever(), reason=options.reason, sticky=options.sticky)
    except ConfigError as exc:
        print(f"drain: {exc}", file=sys.stderr)
        return BAD_CONFIGURATION
    except OSError as exc:
        print(f"drain: {exc}", file=sys.stderr)
        return FAILED
    print(f"{config.node.id} is asked to drain", flush=True)
    return _wait(listen, options.wait) if options.wait else SAFE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m meshcore drain", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the node's TOML file")
    parser.add_argument("--reason", default="", help="for the people who see it drain")
    parser.add_argument("--sticky", action="store_true", help="also after a reboot, and without an end")
    parser.add_argument(
        "--wait", type=_seconds, default=0.0, metavar="SECONDS", help="until it is safe to stop"
    )
    parser.add_argument("--undo", action="store_true", help="serve again")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= WAIT_MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text}: expected seconds from 0 to {WAIT_MAX_SECONDS:g}")
    return seconds


def _whoever() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())  # many containers have no name for it


def _wait(listen: Address, seconds: float) -> int:
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            said = _look(listen)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            print(f"drain: no node answers at {listen}: {exc}", file=sys.stderr)
            return UNREACHABLE
        if said.get("safe_to_stop") is True:
            print("it is safe to stop")
            return SAFE
        if time.monotonic() >= give_up_at:
            print(f"drain: not safe to stop after {seconds:g} s: {said.get('status')}", file=sys.stderr)
            return TIME_UP
        time.sleep(min(LOOK_SECONDS, seconds))


def _look(listen: Address) -> dict[str, object]:
    """Return what `/readyz` says."""
    host = "localhost" if listen.host in WILDCARDS else listen.host
    line = http.client.HTTPConnection(host, listen.port, timeout=ANSWER_SECONDS)
    try:
        line.request("GET", "/readyz")
        said = json.loads(line.getresponse().read(ANSWER_MAX_BYTES))
    finally:
        line.close()
    if not isinstance(said, dict):
        raise ValueError("its /readyz is no JSON object")
    return said
