"""The head of a request as it comes, within bounds, and without what two readers would read differently."""

from meshcore.aio.http_fields import Fields

HEADER_MAX_BYTES = 16 << 10  # of one header or the request line; a longer one is answered 400
HEADERS_MAX = 100  # lines, also such as are alike
LENGTH_MAX_DIGITS = 19  # of Content-Length, leading zeros and all
ONCE = frozenset(
    {
        *(b"host", b"authorization", b"content-type", b"content-encoding", b"content-length"),
        *(b"transfer-encoding", b"expect"),
    }
)
"""Who stands before a node may have looked at the other one of two: such a request is refused."""


class Head:
    """What came of a head; of several header fields alike the first is kept.

    Its methods raise ValueError for what is refused; that never shows what came.
    """

    __slots__ = ("_lines", "fields", "target")

    def __init__(self) -> None:
        self.fields: Fields = {}
        self.target = b""
        self._lines = 0

    def add_target(self, part: bytes) -> None:
        """Take the next bytes of the target."""
        self.target += part
        if len(self.target) > HEADER_MAX_BYTES:
            raise ValueError("the request line is too long")

    def add_field(self, name: bytes, value: bytes) -> None:
        """Take a header field."""
        self._lines += 1
        if len(name) + len(value) > HEADER_MAX_BYTES or self._lines > HEADERS_MAX:
            raise ValueError("a header too long or too many")
        name = name.lower()
        if name not in self.fields:
            self.fields[name] = value
        elif name in ONCE:
            raise ValueError("a header twice")

    def check_framing(self, version: str) -> None:
        """Refuse a body whose end others may see elsewhere (RFC 9112 §6.1), and what isn't HTTP/1."""
        if version not in ("1.1", "1.0"):
            raise ValueError("an HTTP that nobody here speaks")
        coding = self.fields.get(b"transfer-encoding")
        if coding is not None and (version == "1.0" or coding.strip().lower() != b"chunked"):
            raise ValueError("a transfer coding that nobody here knows")
        if len(self.fields.get(b"content-length", b"")) > LENGTH_MAX_DIGITS:
            raise ValueError("a length too long")

    @property
    def has_body(self) -> bool:
        """Return whether a body is announced."""
        return b"transfer-encoding" in self.fields or b"content-length" in self.fields

    @property
    def asks_first(self) -> bool:
        """Return whether the body comes when it is asked for."""
        return self.fields.get(b"expect", b"").strip().lower() == b"100-continue"

    def without_offer(self) -> bytes:
        """Return a head that announces the same body, and nothing else."""
        length = self.fields.get(b"content-length")
        framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: " + length
        return b"POST / HTTP/1.1\r\nConnection: close\r\n%b\r\n\r\n" % framing
