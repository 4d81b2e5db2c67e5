"""A cable between a node and its dashboard that can be held, so that nothing arrives, cut, and half cut."""

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

BUFFER_BYTES = 1 << 16
CONNECT_SECONDS = 5.0


@dataclass(slots=True)
class _Call:
    """A connection through the cable."""

    near: socket.socket
    far: socket.socket
    half_open: bool = False  # the far end believes in it still


class Cable:
    """A TCP relay on a port of its own; what is in it when it is cut is lost, and new calls go through."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._far = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.delay_seconds = 0.0  # before each piece is passed on
        self._flows = threading.Event()
        self._flows.set()
        self._calls: list[_Call] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """Let nothing through any more; both ends believe that they are connected."""
        self._flows.clear()

    def cut(self) -> None:
        """Lose what is held and every connection, and let new ones through."""
        calls, self._calls = self._calls, []
        for call in calls:
            _close(call.near)
            _close(call.far)
        self._flows.set()

    def cut_near(self) -> None:
        """End every connection for the node alone: the dashboard hears nothing, not even of the end."""
        for call in self._calls:
            call.half_open = True
            _close(call.near)
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
        call = _Call(near, far)
        self._calls.append(call)
        threading.Thread(target=self._carry, args=(call, near, far), daemon=True).start()
        self._carry(call, far, near)

    def _carry(self, call: _Call, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # one of them was closed
            while data := source.recv(BUFFER_BYTES):
                self._flows.wait()
                time.sleep(self.delay_seconds)
                sink.sendall(data)
        if call.half_open:
            return
        _close(source)
        _close(sink)


def _close(end: socket.socket) -> None:
    """Wake whoever waits for it, too, which closing alone doesn't."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
