"""One client's connection, and the bounds of what is read from it before anybody looks at a request."""

import asyncio
import logging

from aiohttp import web

from meshcore.aio.gateway.answers import refusal

HEADER_MAX_BYTES = 16 << 10  # of one header or the request line; a longer one is answered 400
HEADERS_MAX = 100
KEEPALIVE_SECONDS = 75.0  # an idle connection is closed, also one that never sent a whole request
LINGER_SECONDS = 2.0  # a client whose body was refused may still read why
EXPECTED = (
    "expected an HTTP/1.1 request with "
    f"at most {HEADERS_MAX} headers, each of at most {HEADER_MAX_BYTES} bytes"
)

logger = logging.getLogger(__name__)


class Connection(web.RequestHandler):
    """Refuses in OpenAI's shape what is no HTTP; the library would show the bytes to client and log.

    They may be a key in a header that is a little too long.
    """

    def __init__(self, server: web.Server, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None writes none
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGER_SECONDS,
            max_line_size=HEADER_MAX_BYTES,
            max_field_size=HEADER_MAX_BYTES,
            max_headers=HEADERS_MAX,
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to what never reached a route, and close the connection behind it."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("an answer was sent already")  # the connection is all that can end
        if status >= 500:
            logger.error("a connection failed", exc_info=exc)
            answer = refusal(status, "internal_error", "internal error")
        else:
            logger.info("refused what is no HTTP request: %s", type(exc).__name__)
            answer = refusal(status, "bad_request", EXPECTED)
        answer.force_close()
        return answer
