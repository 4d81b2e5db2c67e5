"""What a run is asked for: the client's own JSON, stored as it came, and the run's id.

    {"model", "messages", …}      a chat-completions body, or that of the plain call that was detached
    {"capability", "body"}        any call of the bus

Answers of chats and completions are streamed; those of other capabilities come whole, as one chunk.
"""

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from meshcore.capability import RouteRequest
from meshcore.catalogue import wanted
from meshcore.openai_errors import BadRequest
from meshcore.openai_wire import Operation, Request, parse_object, parse_request
from meshcore.registry import Entry

VERSION = (1, 0)
LOG_CHARACTERS = 6  # of a log's id, in the ids of its runs
STREAMED = frozenset({Operation.CHAT, Operation.COMPLETION})
KEY_MAX_CHARS = 255  # of an Idempotency-Key
_OWN_BYTES = 16
TIME_DIGITS = 12  # of a run's own part
_RUN_ID = re.compile(r"run_([0-9A-Za-z]{6})_[0-9a-f]{32}", re.ASCII)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BUS_FORM = {"capability", "body"}


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request; `openai` is set for one in OpenAI's form, else `body` is that of the bus."""

    capability: str
    raw: bytes
    openai: Request | None = None
    body: dict[str, Any] = {}

    @property
    def is_streamed(self) -> bool:
        """Whether the answer comes in chunks."""
        return self.capability in STREAMED

    def route(
        self, entries: Iterable[Entry], *, caller: str, deadline: float, trace_id: str, run_id: str = ""
    ) -> RouteRequest:
        """Return the call of the bus; `entries` offer the capability, `deadline` is in monotonic seconds."""
        return RouteRequest(
            self.capability,
            VERSION,
            self._body(entries),
            caller,
            trace_id,
            deadline_ms=deadline * 1000,
            stream=self.is_streamed,
            run_id=run_id,
        )

    def _body(self, entries: Iterable[Entry]) -> dict[str, Any]:
        if self.openai is None:
            return self.body
        asked = self.openai
        if self.is_streamed and not asked.stream and "stream_options" not in asked.body:
            # Its client expects a whole answer, which says what it used.
            fields: dict[str, Any] = dict(_FIELDS.decode(asked.raw))
            fields["stream_options"] = {"include_usage": True}
            asked = msgspec.structs.replace(asked, raw=msgspec.json.encode(fields))
        return asked.as_bus_body(*wanted(asked.model, entries))


def parse_run(raw: bytes, operation: Operation | None = None) -> RunRequest:
    """Return the request in `raw`, of a plain call for `operation` when there is one. Raises BadRequest."""
    if operation is None:
        fields = parse_object(raw)
        if fields.keys() >= _BUS_FORM:
            return _bus_form(raw, fields)
        operation = Operation.CHAT
    return run_of(parse_request(operation, raw))


def run_of(request: Request) -> RunRequest:
    """Return a plain call as what a run is asked for. Raises BadRequest."""
    if request.body.get("n") not in (None, 1):
        raise BadRequest("n", f"expected 1, as a run has one answer, got {request.body['n']!r:.60}")
    return RunRequest(capability=request.operation, raw=request.raw, openai=request)


def parse_stored(capability: str, raw: bytes) -> RunRequest:
    """Return the request that a log holds. Raises BadRequest when it is none for this version."""
    if parse_object(raw).keys() >= _BUS_FORM:
        return parse_run(raw)
    try:
        return parse_run(raw, Operation(capability))
    except ValueError as exc:
        raise BadRequest("capability", f"nothing known in OpenAI's form: {capability[:100]!r}") from exc


def _bus_form(raw: bytes, fields: dict[str, Any]) -> RunRequest:
    capability, body = fields["capability"], fields["body"]
    if not isinstance(capability, str) or not 1 <= len(capability) <= 100:
        raise BadRequest("capability", f"expected a name of 1 to 100 characters, got {capability!r:.60}")
    if not isinstance(body, dict):
        raise BadRequest("body", f"expected an object, got {body!r:.60}")
    return RunRequest(capability=capability, raw=raw, body=body)


def new_run_id(log_id: str, drawn: str, at: datetime) -> str:
    """Return the id of a run that is made `at` a moment; `drawn` are 32 random hexadecimal digits.

    It begins with the milliseconds since 1970, as RFC 9562 has it in version 7, so that runs of one time are
    near each other in an index; the 80 bits behind them are random.
    """
    moment = f"{int(at.timestamp() * 1000):0{TIME_DIGITS}x}"
    return f"run_{log_id[:LOG_CHARACTERS]}_{moment}{drawn[TIME_DIGITS:]}"


def idempotent_run_id(log_id: str, client: str, key: str) -> str:
    """Return the id of the run that client key `client` makes by `key`, the same every time."""
    digest = hashlib.sha256(msgspec.json.encode([client, key])).hexdigest()
    return f"run_{log_id[:LOG_CHARACTERS]}_{digest[: 2 * _OWN_BYTES]}"


def log_of(run_id: str) -> str | None:
    """Return the beginning of the id of the log that a run stands in; None for what is no run's id."""
    match = _RUN_ID.fullmatch(run_id)
    return match[1] if match else None


def same_request(one: bytes, other: bytes) -> bool:
    """Return whether two requests say the same, in whatever order and spacing."""
    return one == other or bool(msgspec.json.decode(one) == msgspec.json.decode(other))
