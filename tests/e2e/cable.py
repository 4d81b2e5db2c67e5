"""A cable between a node and its dashboard that can be held, so that nothing arrives, and cut."""

import socket
import threading
from contextlib import suppress

BUFFER_BYTES = 1 << 16
CONNECT_SECONDS = 5.0


class Cable:
    """A TCP relay on a port of its own; what is in it when it is cut is lost, and new calls are refused."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._far = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._flows = threading.Event()
        self._flows.set()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """Let nothing through any more; both ends believe that they are connected."""
        self._flows.clear()

    def cut(self) -> None:
        """Lose what is held and every connection, and let new ones through."""
        for end in self._ends:
            _close(end)
        self._ends.clear()
        self._flows.set()

    def close(self) -> None:
        """End it."""
        _close(self._listener)
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._far, timeout=CONNECT_SECONDS)
        except OSError:
            _close(near)
            return
        far.settimeout(None)
        self._ends += [near, far]
        threading.Thread(target=self._carry, args=(near, far), daemon=True).start()
        self._carry(far, near)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # one of them was closed
            while data := source.recv(BUFFER_BYTES):
                self._flows.wait()
                sink.sendall(data)
        _close(source)
        _close(sink)


def _close(end: socket.socket) -> None:
    """Wake whoever waits for it, too, which closing alone doesn't."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
