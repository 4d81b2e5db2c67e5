"""The socket to listen on: bound first, so that a busy port or an unsafe address ends it before it starts."""

import socket

from dashboard.secrets import MeshUrl, is_loopback

BACKLOG = 128  # connections that wait to be accepted; a loop that is behind by more has other troubles


class CannotListen(Exception):
    """Why not, in a sentence for the operator."""


def open_socket(host: str, port: int, *, mesh_url: MeshUrl) -> socket.socket:
    """Return a socket that listens on `host` and `port` (0: any free one); raises CannotListen."""
    _refuse_unsafe(host, mesh_url)
    if not 0 <= port <= 65535:
        raise CannotListen(f"can't listen on port {port}: expected 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=BACKLOG)
    except OSError as exc:
        raise CannotListen(f"can't listen on {host} port {port}: {_why(exc)}") from exc


def adopt_socket(fd: int, *, mesh_url: MeshUrl) -> socket.socket:
    """Return the TCP socket that the parent process passed as `fd`, listening; raises CannotListen."""
    try:
        listener = socket.socket(fileno=fd)
    except OSError as exc:
        raise CannotListen(f"can't listen on file descriptor {fd}: {_why(exc)}") from exc
    try:
        _refuse_other_sockets(listener)
        _refuse_unsafe(listener.getsockname()[0], mesh_url)
    except CannotListen:
        listener.detach()  # it stays the parent's
        raise
    return listener


def _refuse_other_sockets(listener: socket.socket) -> None:
    listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listens or listener.family not in (socket.AF_INET, socket.AF_INET6):
        raise CannotListen(
            f"can't listen on file descriptor {listener.fileno()}: expected a TCP socket that listens"
        )


def url_of(listener: socket.socket) -> str:
    """Return the address of a listening socket as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


def _refuse_unsafe(host: str, mesh_url: MeshUrl) -> None:
    if is_loopback(host.strip("[]")) or mesh_url.secure or not mesh_url.loopback:
        return
    raise CannotListen(
        f"can't listen on {host}: MESH_URL={mesh_url.origin} is for this machine alone; set it to the "
        "https:// address that people and nodes use (plain http:// needs MESH_ALLOW_PLAIN_HTTP=1 too)"
    )


def _why(exc: OSError) -> str:
    """Return the reason alone; Python adds the address, which the sentence has already."""
    return (exc.strerror or str(exc)).partition(" (while ")[0]
