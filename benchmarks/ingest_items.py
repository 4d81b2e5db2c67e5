"""What is stored by `ingest`: a call that failed over, as its node says it; only numbers differ."""

from collections.abc import Iterator
from datetime import UTC, datetime

FRAME_ITEMS = 250  # of about 1 kB: as many as fit into a frame of 256 KiB

_AT = datetime.now(UTC).isoformat().replace("+00:00", "Z")
_TRACE = (
    '{"kind":"trace","seq":%d,"at":"AT_","trace":{"trace_id":"%032x","capability":"llm.chat",'
    '"started_at":"AT_","caller":"shop","alias":"mesh/fast","model_asked":"mesh/fast",'
    '"model_served":"llama-3.1-8b","duration_ms":812.25,"ttft_ms":214.5,"tokens_in":118,"tokens_out":342,'
    '"stream":true,"routed_via":"node-b","provider":"groq","why":"failover","candidates":['
    '{"node":"node-a","provider":"local","model":"llama-3.1-8b","rank":1,"score":'
    '{"value":412.0,"p50_ms":350.0,"load":0.1,"success_rate":0.98}},'
    '{"node":"node-b","provider":"groq","model":"llama-3.1-8b","rank":2,"score":'
    '{"value":500.0,"p50_ms":400.0,"load":0.2,"success_rate":1.0}}],"attempts":['
    '{"n":1,"node":"node-a","provider":"local","model":"llama-3.1-8b","outcome":"error","code":"timeout",'
    '"message":"no first token within 0.5 s","ms":500.2},'
    '{"n":2,"node":"node-b","provider":"groq","model":"llama-3.1-8b","started_ms":500.9,"ms":311.3,'
    '"ttft_ms":214.5,"committed":true}]}}'
).replace("AT_", _AT)


def items(after: int, *, node: int, count: int = FRAME_ITEMS) -> Iterator[str]:
    """Yield the items behind a number as JSON; trace ids differ between nodes, too."""
    base = node << 64
    return (_TRACE % (seq, base + seq) for seq in range(after + 1, after + 1 + count))


def line(after: int, *, node: int, count: int = FRAME_ITEMS) -> bytes:
    """Return the telemetry frame behind a number, as it comes over the wire."""
    return (
        f'{{"type":"telemetry","after":{after},"to":{after + count},"items":'
        f'[{",".join(items(after, node=node, count=count))}],"dropped":{{}}}}'
    ).encode()
