"""What can go wrong between a client and an HTTP server, and where connections lead."""

from typing import NamedTuple


class HttpError(Exception):
    """An exchange failed; what the system said of it is the cause."""


class NotConnected(HttpError):
    """No connection could be had."""


class NotTrusted(HttpError):
    """A connection could be had, and no trust in who is at its end."""


class Broken(HttpError):
    """The connection broke before the answer's end."""


class NotHttp(HttpError):
    """What came is no answer of HTTP/1.1."""


class TooLarge(HttpError):
    """An answer has more bytes than its reader takes."""


class Origin(NamedTuple):
    """Where connections lead."""

    host: str
    port: int
    tls: bool
