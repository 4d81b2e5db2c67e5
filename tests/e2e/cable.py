"""A cable between a node and what it speaks with that can be held, cut, half cut, and slow."""

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
        scheme, _, address = url.partition("://")
        host, _, port = address.partition(":")
        self._far = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self.delay_seconds = 0.0  # before each piece is passed on
        self._there, self._back = threading.Event(), threading.Event()
        self._forgotten: list[threading.Event] = []
        self.release()
        self._calls: list[_Call] = []
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
        calls, self._calls = self._calls, []
        for call in calls:
            _close(call.near)
            _close(call.far)
        self.release()
        for flows in self._forgotten:
            flows.set()  # into nothing

    def cut_near(self) -> None:
        """End every connection for the node alone: the dashboard hears nothing, not even of the end."""
        for call in self._calls:
            call.half_open = True
            _close(call.near)
        self.release()

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
        threading.Thread(target=self._carry, args=(call, near, far, self._there), daemon=True).start()
        self._carry(call, far, near, self._back)

    def _carry(self, call: _Call, source: socket.socket, sink: socket.socket, flows: threading.Event) -> None:
        with suppress(OSError):  # one of them was closed
            while data := source.recv(BUFFER_BYTES):
                flows.wait()
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
