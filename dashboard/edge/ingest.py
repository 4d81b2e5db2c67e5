"""`POST /api/v1/ingest`: a frame of telemetry by HTTP, for who has no link (link-and-telemetry, "Rules").

The node's token says whose it is, `spool_id` which spool. The spool has a mark of its own, without a
connection; one that belongs to a link is 409. The answers are the link's: `telemetry_ack`, or `rewind` when
there is a gap.
"""

import logging
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import msgspec
from django.db import Error as DatabaseError
from django.utils.encoding import escape_uri_path

from dashboard import runtime
from dashboard.edge.address import values
from dashboard.edge.responses import problem, respond
from dashboard.models import Action, Node
from dashboard.runtime import LaneFull, Runtime
from dashboard.services import audit_refusals, marks, rights, tokens
from dashboard.services.actor import of_token
from dashboard.services.ballast import TelemetryStopped
from dashboard.services.ingest import ConnectionLost
from dashboard.services.tokens import TokenRejected, TokensUnavailable
from meshcore.clock import utcnow
from meshcore.errors import FrameError
from meshcore.frames import PushedTelemetry, Rewind, Telemetry, TelemetryAck
from meshcore.framing import decode_pushed

logger = logging.getLogger(__name__)

JSON = b"application/json"
BODY_MAX_BYTES = 1 << 20
RETRY_SECONDS = 5
SHOWN_CHARACTERS = 80  # of what a client sent, in an answer
IN_USE = "spool_in_use"
TARGET = "POST ingest"

Scope = dict[str, Any]


class Refused(Exception):
    """The request is answered with an error, and nothing was stored."""

    def __init__(self, status: HTTPStatus, detail: str, *headers: tuple[bytes, bytes], **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.more = more


async def ingest(scope: Scope, receive: Any, send: Any) -> None:
    """Store a frame, or say why not."""
    instance = escape_uri_path(scope["path"])
    try:
        answer = await _answer(runtime.current(), scope, receive)
    except Refused as exc:
        await problem(send, exc.status, exc.detail, *exc.headers, instance=instance, **exc.more)
    except (DatabaseError, LaneFull, TelemetryStopped, TokensUnavailable):
        logger.exception("telemetry by HTTP is not stored")
        said = "the dashboard can't store now"
        await problem(send, HTTPStatus.SERVICE_UNAVAILABLE, said, _retry(), instance=instance)
    except Exception:
        logger.exception("telemetry by HTTP is not stored")
        await problem(send, HTTPStatus.INTERNAL_SERVER_ERROR, "internal error", instance=instance)
    else:
        await respond(send, HTTPStatus.OK, msgspec.json.encode(answer), JSON)


async def _answer(running: Runtime, scope: Scope, receive: Any) -> TelemetryAck | Rewind:
    if scope["method"] != "POST":
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "only POST", (b"allow", b"POST"))
    node = await running.in_control(_node_of, scope)
    _check_query(scope)
    _check_headers(scope)
    if running.writer.is_crowded:
        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many frames wait to be stored", _retry())
    pushed = _parsed(await _body(receive))
    answer = await _store(running, node, pushed)
    if isinstance(answer, ConnectionLost):  # no mark of ours: a new spool, or one of a link
        if not await running.in_control(marks.introduce, node=node, spool_id=pushed.spool_id, now=utcnow()):
            raise _in_use(pushed)
        answer = await _store(running, node, pushed)
    if isinstance(answer, ConnectionLost):  # a link took it meanwhile
        raise _in_use(pushed)
    return answer


def _node_of(scope: Scope) -> Node:
    """Return the node whose token it is; reads the database. Raises Refused and TokensUnavailable."""
    address = scope["client"][0]
    secret = tokens.secret_in(values(scope, b"authorization"))
    try:
        token = tokens.authenticate(secret, address=address)
    except TokenRejected as exc:
        who = of_token(exc.token, address=address) if exc.token else audit_refusals.stranger(address)
        _note(who, HTTPStatus.UNAUTHORIZED, str(exc))
        detail = "a node's token is needed, one that counts"
        raise Refused(HTTPStatus.UNAUTHORIZED, detail, (b"www-authenticate", b"Bearer")) from exc
    if token.node is None or token.node.forgotten_at is not None or not rights.may_push(token):
        detail = "the token is not a node's: the scope `nodes:push` is needed"
        _note(of_token(token, address=address), HTTPStatus.FORBIDDEN, detail)
        raise Refused(HTTPStatus.FORBIDDEN, detail)
    return token.node


def _note(who: Any, status: HTTPStatus, reason: str) -> None:
    audit_refusals.note(actor=who, action=Action.ACCESS, target=TARGET, status=status.value, reason=reason)


def _check_query(scope: Scope) -> None:
    """Refuse a parameter as all of the API does: one that is ignored could have meant "only try"."""
    for name in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        shown = name[:SHOWN_CHARACTERS]
        detail = f"Unknown parameter {shown!r}; allowed are none."
        raise Refused(HTTPStatus.BAD_REQUEST, detail, errors=[{"field": shown, "detail": detail}])


def _check_headers(scope: Scope) -> None:
    kind = ",".join(values(scope, b"content-type")).partition(";")[0].strip().lower()
    if kind != JSON.decode():
        detail = f"content-type={kind[:SHOWN_CHARACTERS]!r}: expected {JSON.decode()}"
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    encoding = ",".join(values(scope, b"content-encoding")).strip().lower()
    if encoding not in ("", "identity"):
        detail = f"content-encoding={encoding[:SHOWN_CHARACTERS]!r}: expected none"
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, (b"accept-encoding", b"identity"))


async def _body(receive: Any) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > BODY_MAX_BYTES:
            detail = f"the body has more than {BODY_MAX_BYTES} bytes"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        if not message.get("more_body"):
            return bytes(body)


def _parsed(body: bytes) -> PushedTelemetry:
    try:
        return decode_pushed(body)
    except FrameError as exc:
        raise Refused(HTTPStatus.BAD_REQUEST, str(exc)) from exc


async def _store(
    running: Runtime, node: Node, pushed: PushedTelemetry
) -> TelemetryAck | Rewind | ConnectionLost:
    telemetry = Telemetry(after=pushed.after, to=pushed.to, items=pushed.items, dropped=pushed.dropped)
    return await running.writer.store(
        node=node,
        connection_no=marks.BY_HTTP,
        spool_id=pushed.spool_id,
        telemetry=telemetry,
        now=utcnow(),
    )


def _in_use(pushed: PushedTelemetry) -> Refused:
    detail = f"the spool {pushed.spool_id!r} belongs to the node's link"
    return Refused(HTTPStatus.CONFLICT, detail, code=IN_USE)


def _retry() -> tuple[bytes, bytes]:
    return b"retry-after", str(RETRY_SECONDS).encode()
