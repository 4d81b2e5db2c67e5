"""The words of the link: how far a connection has come, why it ends, how long things may take."""

import enum
from dataclasses import dataclass

from meshcore.pace import FOUR_A_SECOND


class CloseCode(enum.IntEnum):
    """Why a socket was closed; 4xxx are the link's own."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    UNAUTHORIZED = 4401  # the token is unknown or revoked
    HANDSHAKE_TIMEOUT = 4408
    SUPERSEDED = 4409  # another connection of this node counts now
    DUPLICATE_NODE = 4410  # another process with this node's token is connected and alive
    WINDOW_EXCEEDED = 4429


class Phase(enum.StrEnum):
    """How far a connection has come."""

    HELLO = "hello"
    ANSWERING = "answering"
    OPEN = "open"
    GOING_IDLE = "going_idle"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Closing:
    """The socket must be closed with this code and reason."""

    code: CloseCode
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPolicy:
    """Times of the link that are not the dashboard's to set."""

    handshake_seconds: float = 30.0  # from open to descriptor, > 0
    full_health_seconds: float = 60.0  # every breaker is repeated after this long, > 0
    health_gap_seconds: float = FOUR_A_SECOND  # between two health frames on average (meshcore.pace)
    health_jitter: float = 0.1  # share of health_seconds, so that nodes don't beat in step

    def __post_init__(self) -> None:
        if min(self.handshake_seconds, self.full_health_seconds) <= 0 or self.health_gap_seconds < 0:
            raise ValueError(f"{self}: expected times above 0")
        if not 0 <= self.health_jitter < 1:
            raise ValueError(f"health_jitter={self.health_jitter!r}: expected 0 to below 1")
