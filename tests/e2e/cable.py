"""A cable between a node and what it speaks with that can be held, so that nothing arrives, and cut."""

import socket
import threading
from contextlib import suppress

BUFFER_BYTES = 1 << 16
CONNECT_SECONDS = 5.0


class Cable:
    """A TCP relay on a port of its own; what is in it when it is cut is lost, and new calls are refused."""

    def __init__(self, url: str) -> None:
        scheme, _, address = url.partition("://")
        host, _, port = address.partition(":")
        self._far = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._there, self._back = threading.Event(), threading.Event()
        self._forgotten: list[threading.Event] = []
        self.release()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, *, answers_only: bool = False) -> None:
        """Let nothing through any more, or nothing back; both ends believe that they are connected."""
        self._back.clear()
        if not answers_only:
            self._there.clear()

    def release(self) -> None:
        """Let through what was held, late as it is, and what comes."""
        self._there.set()
        self._back.set()

    def forget(self) -> None:
        """Let nothing through of what is connected now, as a firewall that lost its state; new calls pass."""
        self.hold()
        self._forgotten += [self._there, self._back]
        self._there, self._back = threading.Event(), threading.Event()
        self.release()

    def cut(self) -> None:
        """Lose what is held and every connection, and let new ones through."""
        for end in self._ends:
            _close(end)
        self._ends.clear()
        self.release()
        for flows in self._forgotten:
            flows.set()  # into nothing

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
        threading.Thread(target=self._carry, args=(near, far, self._there), daemon=True).start()
        self._carry(far, near, self._back)

    def _carry(self, source: socket.socket, sink: socket.socket, flows: threading.Event) -> None:
        with suppress(OSError):  # one of them was closed
            while data := source.recv(BUFFER_BYTES):
                flows.wait()
                sink.sendall(data)
        _close(source)
        _close(sink)


def _close(end: socket.socket) -> None:
    """Wake whoever waits for it, too, which closing alone doesn't."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
