"""The streams, as the OpenAPI document names them: they are served in front of Django (`dashboard.edge`)."""

from typing import Any

from dashboard.api.problems import MEDIA_TYPE

EVENT_STREAM = "text/event-stream"
SECURITY = [{"token": ["read"]}]
PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
REFUSES = {
    "400": "Something in the request isn't allowed; `errors` names it.",
    "401": "There is no token, or it doesn't count (any more).",
    "403": "The token lacks the scope that `detail` names.",
    "503": "Too many watch, or what is needed can't be asked now.",
}
STARTING_AFTER = {
    "name": "starting_after",
    "in": "query",
    "description": "The id of the last event that you have.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
}
LAST_EVENT_ID = {
    **STARTING_AFTER,
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The same, as browsers send it; counts before `starting_after`.",
}
HISTORY = {
    "name": "history",
    "in": "query",
    "description": "Also what an owner that began anew has replaced.",
    "schema": {"type": "string", "enum": ["all"]},
}
RUN = {
    "name": "run",
    "in": "path",
    "required": True,
    "description": "The run's id.",
    "schema": {"type": "string"},
}
ENDS = (
    " A comment comes at once and after 15 s of silence. An answer ends at 4 MiB: come again with the id of"
    " the last event. It also ends when the token doesn't count any more."
)


def _stream(name: str, tag: str, says: str, *parameters: dict[str, Any], **refuses: str) -> dict[str, Any]:
    summary = says.partition(". ")[0].rstrip(".") + "."
    refused = {**REFUSES, **refuses}
    text = {"schema": {"type": "string"}}
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "description": says + ENDS,
            "tags": [tag],
            "parameters": [*parameters, STARTING_AFTER, LAST_EVENT_ID],
            "security": SECURITY,
            "responses": {
                "200": {"description": "Server-sent events.", "content": {EVENT_STREAM: text}},
                **{status: {"description": words, **PROBLEM} for status, words in sorted(refused.items())},
            },
        }
    }


PATHS = {
    "/api/v1/runs/{run}/stream": _stream(
        "run_stream",
        "runs",
        "Watch a run. Events are `chunk`, `epoch` and `end`, as on a node: what is there, then what comes, to"
        " the end of the run, whichever nodes come and go meanwhile. Without an id it begins with the present"
        " owner's beginning.",
        RUN,
        HISTORY,
        **{"404": "There is no such run, or its log keeps it no longer."},
    ),
    "/api/v1/events": _stream(
        "events_stream",
        "events",
        "Follow what changes. Each `change` names a key, such as `node:node-a`, under which to read again;"
        " keys that the token may not read are left out. `resync` says that what was missed is kept no longer"
        " (an hour): read everything again. Without an id it begins now.",
    ),
}
"""What the document says beside the views."""
