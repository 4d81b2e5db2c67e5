"""What one client may ask of the server; beyond it the client is told so, and nothing piles up."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a server; all above zero."""

    body_bytes: int = MIB  # of a request; the largest that is meant to come is a frame of telemetry
    request_seconds: float = 30.0  # from the first byte of a request to the last of its body
    idle_seconds: float = 60.0  # of a kept-alive connection between two requests
    linger_seconds: float = (
        5.0  # a refused body is read and thrown away this long, so that the answer arrives
    )
    connections: int = 4000  # open at once, links and pages among them; one more is closed unanswered
    message_bytes: int = MIB  # of a websocket message (link-and-telemetry, "Frames")
    inbox_messages: int = 16  # websocket messages that wait for their consumer; then the socket isn't read
    inbox_bytes: int = 2 * MIB  # the same, by their size

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected more than 0")
