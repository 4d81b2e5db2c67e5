"""Which port to listen on."""

import errno
import socket

LOOPBACK = "127.0.0.1"
TRIES_MAX = 100


class NoPort(Exception):
    """There is no port to be had; the text says where it was looked for."""


def first_free_port(wanted: int) -> int:
    """Return `wanted`, or the next port above it on which nobody listens on loopback. Raises NoPort."""
    ports = range(wanted, min(wanted + TRIES_MAX, 65536))
    for port in ports:
        if _is_free(port):
            return port
    raise NoPort(f"ports {ports.start} to {ports.stop - 1} are all busy")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection of the last server that lingers makes no port busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError as exc:
            raise NoPort(f"port {port} may not be used by this user: choose one above 1023") from exc
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            return False
    return True
