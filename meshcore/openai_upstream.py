"""Between the bus and an OpenAI-compatible upstream: the request that is sent, the answer that comes back.

A bus body that carries the client's own object under `openai` is sent as that object, with only `model` and
`stream` set; any other is built from `params` and `input`. The upstream's whole object travels back under
`openai`, beside what the bus itself reads. Both are `msgspec.Raw`, bytes that nobody on the way rewrites: a
field that this project doesn't know arrives exactly as it was sent.
"""

from typing import Any, TypeGuard

import msgspec

from meshcore.errors import CallError, Code, FrameError
from meshcore.openai_errors import BadRequest, error_message
from meshcore.openai_wire import INPUT_FIELD, MODEL_MAX_CHARS, Operation

MODELS_MAX = 1000  # of one upstream; the largest public catalogues have a few hundred
_NOT_SENT = frozenset({"model", "provider"})  # params that route the call
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def upstream_request(operation: Operation, body: dict[str, Any], model: str, *, stream: bool) -> bytes:
    """Return the JSON to send for a bus body; raises BadRequest when the body lacks what is asked."""
    request = request_object(operation, body)
    if model:
        request["model"] = model
    if stream or "stream" in request:
        request["stream"] = stream
    return msgspec.json.encode(request)


def request_object(operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
    """Return the request that a bus body stands for, as a new dict; its values may still be `msgspec.Raw`.

    Raises BadRequest when the body lacks what is asked.
    """
    whole = body.get("openai")
    if isinstance(whole, msgspec.Raw):
        whole = _fields_of(whole)
    if isinstance(whole, dict):
        return dict(whole)
    params, asked = body.get("params"), input_of(operation, body)
    extra = {key: value for key, value in (params or {}).items() if key not in _NOT_SENT}
    return {**extra, INPUT_FIELD[operation]: asked}


def _fields_of(raw: msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """Return an object's fields as they were sent, None when it is no object."""
    try:
        return _FIELDS.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def input_of(operation: Operation, body: dict[str, Any]) -> Any:
    """Return what a bus body asks: messages, prompt or input; raises BadRequest when there is nothing."""
    field = INPUT_FIELD[operation]
    carrier = body.get("input")
    asked = carrier.get(field) if isinstance(carrier, dict) else None
    if not asked:
        raise BadRequest(f"input.{field}", "expected what is asked, got nothing")
    return asked


def result_of(operation: Operation, raw: bytes) -> dict[str, Any]:
    """Return the bus result for an upstream's whole answer.

    Raises FrameError when it is no such answer, CallError(internal_error) when it is an error sent with
    status 200.
    """
    answer = _object(raw)
    if answer.get("error"):
        raise CallError(Code.INTERNAL_ERROR, f"the provider reported: {error_message(answer['error'])}")
    result: dict[str, Any] = {"output": _output(operation, answer), "openai": msgspec.Raw(raw)}
    if isinstance(answer.get("usage"), dict):
        result["usage"] = answer["usage"]
    return result


def _output(operation: Operation, answer: dict[str, Any]) -> dict[str, Any]:
    if operation is Operation.EMBEDDING:
        return {"data": _first_list(answer, "data")}
    choice = _first_list(answer, "choices")[0]
    said = "message" if operation is Operation.CHAT else "text"
    if not isinstance(choice, dict) or said not in choice:
        raise FrameError(f"answer.choices[0]: expected an object with {said!r}")
    return {said: choice[said], "finish_reason": choice.get("finish_reason")}


def _first_list(answer: dict[str, Any], field: str) -> list[Any]:
    value = answer.get(field)
    if not isinstance(value, list) or not value:
        raise FrameError(f"answer.{field}: expected a list that is not empty")
    return value


def answer_of(
    operation: Operation, result: dict[str, Any], *, trace_id: str, created: int
) -> dict[str, Any] | msgspec.Raw:
    """Return the object to answer a client with: the upstream's own, else one made of the result's output.

    `created` is in seconds since 1970, as the wire wants it.
    """
    whole = result.get("openai")
    if isinstance(whole, dict | msgspec.Raw):
        return whole
    model, output = result.get("model", ""), result.get("output")
    fields = output if isinstance(output, dict) else {}
    usage = {"usage": result["usage"]} if "usage" in result else {}
    if operation is Operation.EMBEDDING:
        return {"object": "list", "model": model, "data": fields.get("data", []), **usage}
    return {
        "id": f"mesh-{trace_id}",
        "object": "chat.completion" if operation is Operation.CHAT else "text_completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, **fields}],
        **usage,
    }


def models_of(raw: bytes) -> tuple[str, ...]:
    """Return the models that an upstream lists, at most `MODELS_MAX`; FrameError when it is no list."""
    data = _object(raw).get("data")
    if not isinstance(data, list):
        raise FrameError("models.data: expected a list")
    names = (entry.get("id") for entry in data if isinstance(entry, dict))
    return tuple(dict.fromkeys(filter(_is_name, names)))[:MODELS_MAX]


def _is_name(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and 0 < len(name) <= MODEL_MAX_CHARS and name.isprintable()


def _object(raw: bytes) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameError(f"answer: expected JSON: {exc}") from exc
    if not isinstance(answer, dict):
        raise FrameError("answer: expected a JSON object")
    return answer
