"""What the mock provider plays: the callers' controls and the faults set for all, and the answer they make.

Controls stand in the last user message, because gateways strip headers; several may be combined:

    slow:<N>x<MS>   N chunks, MS milliseconds before each
    many:<N>        N chunks, 50 ms before each; `slow` is looked for first, without either it is 5 chunks
    stamp:on        "t<ms> " of the call's start before each chunk
    fail:http=503   that status instead of an answer
    fail:after=N    the connection drops after N chunks
    err:after=N     an error event after N chunks
    hang:after=N    silence after N chunks

Chunk i is "chunk-i ", with a space behind it, so that "chunk-1 " is no beginning of "chunk-10 ".
"""

import enum
import hashlib
import re
from typing import Any

import msgspec

from meshcore.openai_wire import text_of

DEFAULT_CHUNKS = 5
DEFAULT_CHUNK_MS = 50
CHUNKS_MAX = 100_000  # more is taken for this many: 100 000 chunks of 50 ms play for 83 minutes
CHUNK_MS_MAX = 3_600_000

_SLOW = re.compile(r"slow:(\d{1,9})x(\d{1,9})")
_MANY = re.compile(r"many:(\d{1,9})")
_HTTP = re.compile(r"fail:http=([45]\d\d)\b")
_AFTER = re.compile(r"\b(fail|err|hang):after=(\d{1,9})")
_WHOLE_CHUNK = re.compile(r"(?:t\d+ )?chunk-(\d+) ")


class Ending(enum.StrEnum):
    """How an answer ends; the values are the words of the controls."""

    FINISH = "finish"
    DROP = "fail"
    ERROR = "err"
    HANG = "hang"


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong with every call, until it is set otherwise; None and 0 mean that nothing does."""

    http: int = 0  # this status instead of an answer, 400 to 599
    retry_after: int | None = None  # seconds, sent with `http`
    delay_ms: int = 0  # before anything is answered
    hang: bool = False  # nothing is ever answered
    chunks: int | None = None  # as many:N for callers who ask for nothing else
    chunk_ms: int | None = None
    stamp: bool = False
    fail_after: int | None = None
    err_after: int | None = None
    hang_after: int | None = None

    def __post_init__(self) -> None:
        if self.http and not 400 <= self.http <= 599:
            raise ValueError(f"http: expected a status from 400 to 599, got {self.http}")
        counts = ("retry_after", "delay_ms", "chunks", "chunk_ms", "fail_after", "err_after", "hang_after")
        for name in counts:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= CHUNK_MS_MAX:
                raise ValueError(f"{name}: expected a number from 0 to {CHUNK_MS_MAX}, got {value}")


def parse_faults(raw: bytes) -> Faults:
    """Return the faults in a JSON object; raises msgspec.DecodeError or UnicodeDecodeError that names the
    field."""
    return msgspec.json.decode(raw, type=Faults)


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """One answer: its chunks up to where it ends, and how it ends."""

    http: int = 0
    retry_after: int | None = None
    hang: bool = False
    delay_seconds: float = 0.0
    texts: tuple[str, ...] = ()
    pause_seconds: float = 0.0  # before each chunk
    ending: Ending = Ending.FINISH


def play(controls: str, faults: Faults, *, begun: str = "", started_ms: int = 0) -> Play:
    """Return the answer to a call whose last user message is `controls`.

    `begun` is the part of the answer that is there already, from a trailing assistant message: the answer
    goes on behind it. `started_ms` is the wall clock in milliseconds at the call's start. The caller's words
    win over `faults`.
    """
    chunks, pause_ms = _pace(controls, faults)
    stamp = f"t{started_ms} " if faults.stamp or "stamp:on" in controls else ""
    ending, after = _ending(controls, faults)
    status = _HTTP.search(controls)
    return Play(
        http=int(status[1]) if status else faults.http,
        retry_after=faults.retry_after,
        hang=faults.hang,
        delay_seconds=faults.delay_ms / 1000,
        texts=_texts(chunks, stamp, begun)[:after],
        pause_seconds=pause_ms / 1000,
        ending=ending,
    )


def _pace(controls: str, faults: Faults) -> tuple[int, int]:
    if slow := _SLOW.search(controls):
        chunks, pause_ms = int(slow[1]), int(slow[2])
    elif many := _MANY.search(controls):
        chunks, pause_ms = int(many[1]), DEFAULT_CHUNK_MS
    else:
        chunks = DEFAULT_CHUNKS if faults.chunks is None else faults.chunks
        pause_ms = DEFAULT_CHUNK_MS if faults.chunk_ms is None else faults.chunk_ms
    return min(max(chunks, 1), CHUNKS_MAX), min(pause_ms, CHUNK_MS_MAX)


def _ending(controls: str, faults: Faults) -> tuple[Ending, int | None]:
    """How it ends, and after how many chunks; None is after all. Of several faults the earliest happens."""
    found = {Ending(word): int(count) for word, count in _AFTER.findall(controls)}
    if not found:
        set_for_all = {
            Ending.DROP: faults.fail_after,
            Ending.ERROR: faults.err_after,
            Ending.HANG: faults.hang_after,
        }
        found = {ending: count for ending, count in set_for_all.items() if count is not None}
    if not found:
        return Ending.FINISH, None
    ending = min(found, key=found.__getitem__)
    return ending, found[ending]


def _texts(chunks: int, stamp: str, begun: str) -> tuple[str, ...]:
    whole = [int(number) for number in _WHOLE_CHUNK.findall(begun)]
    first = whole[-1] + 1 if whole else 1
    texts = [f"{stamp}chunk-{number} " for number in range(first, chunks + 1)]
    rest = _WHOLE_CHUNK.sub("", begun)
    if texts and texts[0].startswith(rest):
        texts[0] = texts[0][len(rest) :]
    return tuple(texts)


def begun_answer(messages: list[Any]) -> str:
    """Return the text of a trailing assistant message, "" when the last message is somebody else's."""
    last = messages[-1]
    return text_of(last.get("content")) if last.get("role") == "assistant" else ""


def embedding(text: str) -> list[float]:
    """Return a vector of 8 numbers from -1 to 1 that is always the same for the same text."""
    return [round(byte / 127.5 - 1.0, 6) for byte in hashlib.sha256(text.encode()).digest()[:8]]
