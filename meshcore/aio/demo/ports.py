"""Ports of the demo on loopback: those of the last time while they are free, so that bookmarks stay true."""

import json
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from meshcore.aio.atomic_file import replace_file

HOST = "127.0.0.1"


def choose_ports(file: Path, preferred: Mapping[str, int]) -> dict[str, int]:
    """Return a free port for each name, and keep them in `file`.

    It is the one kept there, else the preferred one (0: none is), else any. Raises OSError when none is
    left.
    """
    kept = _read(file)
    with ExitStack() as held:  # all at once, so that no port is given out twice
        ports = {name: _take(held, [kept.get(name, 0), wish, 0]) for name, wish in preferred.items()}
    replace_file(file, json.dumps(ports, indent=2).encode() + b"\n")
    return ports


def _read(file: Path) -> dict[str, int]:
    try:
        kept = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {name: port for name, port in kept.items() if isinstance(port, int) and 0 < port <= 65535}


def _take(held: ExitStack, wishes: list[int]) -> int:
    for wish in wishes[:-1]:
        if wish:
            try:
                return _bind(held, wish)
            except OSError:  # somebody has it
                continue
    return _bind(held, wishes[-1])


def _bind(held: ExitStack, port: int) -> int:
    listener = held.enter_context(socket.socket())
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen(1)  # an address that another one listens on can be bound, but not listened on
    return int(listener.getsockname()[1])
