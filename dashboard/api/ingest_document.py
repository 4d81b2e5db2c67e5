"""What the OpenAPI document says of `POST /api/v1/ingest`, which is answered in front of Django by `edge`."""

from typing import Any

from dashboard.api.body import JSON
from dashboard.api.problems import MEDIA_TYPE
from dashboard.models import Scope
from meshcore.frames import BATCH_MAX_ITEMS

PATH = "/api/v1/ingest"
NUMBER = {"type": "integer", "minimum": 0, "maximum": (1 << 63) - 1}
BODY = {
    "type": "object",
    "required": ["spool_id", "after", "to"],
    "properties": {
        "type": {"type": "string", "enum": ["telemetry"]},
        "spool_id": {"type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": 64},
        "after": {**NUMBER, "description": "The last number that came before; the answer to the last frame."},
        "to": {**NUMBER, "description": "The last number of this frame; missing ones were dropped."},
        "items": {"type": "array", "maxItems": BATCH_MAX_ITEMS, "items": {"type": "object"}},
        "dropped": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
    },
}
ACKNOWLEDGED = {
    "type": "object",
    "required": ["type", "to", "refused"],
    "properties": {
        "type": {"type": "string", "enum": ["telemetry_ack"]},
        "to": NUMBER,
        "refused": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["seq", "reason"],
                "properties": {"seq": NUMBER, "reason": {"type": "string"}},
            },
        },
    },
}
REWIND = {
    "type": "object",
    "required": ["type", "hwm"],
    "properties": {"type": {"type": "string", "enum": ["rewind"]}, "hwm": NUMBER},
}
REFUSES = {
    "400": "The body can't be read, or there is a parameter: none is known. `detail` names what is wrong.",
    "401": "There is no token of a node, or it doesn't count (any more).",
    "403": "The token is not a node's: it lacks the scope `nodes:push`.",
    "409": "The spool belongs to the node's link; `code` is `spool_in_use`.",
    "413": "The body has more than 1 MiB.",
    "415": f"The body is no {JSON}, or it is compressed.",
    "503": "The dashboard can't store now; nothing was stored. Come again after `Retry-After` seconds.",
}


def operation() -> dict[str, Any]:
    """Return the operation."""
    example = {"spool_id": "batch-7", "after": 0, "to": 1, "items": [], "dropped": {"trace": 1}}
    answers = {"200": {"description": "Stored, or a gap.", "content": {JSON: {"schema": ANSWER}}}}
    return {
        "operationId": "telemetry_push",
        "summary": "Store a frame of telemetry of a spool that has no link.",
        "description": DESCRIPTION,
        "tags": ["ingest"],
        "security": [{"token": [Scope.NODES_PUSH.value]}],
        "requestBody": {"required": True, "content": {JSON: {"schema": BODY, "example": example}}},
        "responses": answers | {status: _refusal(says) for status, says in REFUSES.items()},
    }


ANSWER = {"oneOf": [ACKNOWLEDGED, REWIND]}
DESCRIPTION = (
    "The object of the link's `telemetry` frame with the `spool_id`, by the token of the node whose it is."
    " What lies behind the spool's mark is stored, once, however often it is sent. `telemetry_ack`: all up to"
    " `to` is stored or refused for good. `rewind`: there was a gap and nothing was stored; go on behind"
    " `hwm`."
)


def _refusal(says: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": says, "content": {MEDIA_TYPE: {"schema": schema}}}
