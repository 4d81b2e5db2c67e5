"""Who watches runs: at one node to the end of a stream, or until there is an end."""

import contextlib
import json
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from tests.e2e.harness import Node, ask


@dataclass
class Frame:
    """An event of an attached viewer."""

    seq: int
    name: str
    data: dict[str, Any]
    at: float = field(default_factory=time.monotonic, compare=False)


class Viewer(threading.Thread):
    """Watches a run at a node to its end; `frames` has what came."""

    def __init__(self, node: Node, run_id: str, query: str = "") -> None:
        super().__init__(daemon=True)
        self.frames: list[Frame] = []
        self._url = f"{node.url}/v1/runs/{run_id}/attach{query}"
        self.start()

    def run(self) -> None:
        """Watch."""
        self._watch()

    def _watch(self) -> None:
        request = urllib.request.Request(self._url)
        if self.frames:
            request.add_header("Last-Event-ID", str(self.frames[-1].seq))
        # Unless the node was killed, or its log is gone:
        with contextlib.suppress(OSError, HTTPException), ask(request, seconds=60) as answer:
            self.frames.extend(frames_in(answer))

    def go_on_at(self, node: Node, run_id: str) -> "Viewer":
        """Return one that takes up what this one lost, at another node."""
        self.join(60)
        last = self.frames[-1].seq
        other = Viewer(node, run_id, f"?starting_after={last}").finish()
        other.frames[:0] = self.frames
        return other

    @property
    def text(self) -> str:
        """What a viewer shows."""
        return shown(self.frames)

    @property
    def epochs(self) -> list[str]:
        """Reasons of the epochs behind the first."""
        return [f.data["reason"] for f in list(self.frames) if f.name == "epoch" and f.data["epoch"] > 1]

    @property
    def end(self) -> dict[str, Any] | None:
        """What the last event says."""
        return self.frames[-1].data if self.frames and self.frames[-1].name == "end" else None

    @property
    def taken(self) -> Frame:
        """The epoch by which somebody took the run over; there must be one."""
        (taken,) = (f for f in list(self.frames) if f.name == "epoch" and f.data["epoch"] == 2)
        return taken

    def indexes(self, behind: int = 0) -> list[int]:
        """Return the numbers of the chunks behind an event."""
        return [f.data["index"] for f in self.frames if f.name == "chunk" and f.seq > behind]

    def finish(self) -> "Viewer":
        """Wait for the end."""
        self.join(90)
        assert self.end is not None, self.frames[-3:]
        return self


class Follower(Viewer):
    """A viewer that comes again when its stream stops without an end."""

    def run(self) -> None:
        """Watch, until there is an end."""
        deadline = time.monotonic() + 80
        while self.end is None and time.monotonic() < deadline:
            self._watch()
            time.sleep(0.1)


def shown(frames: Sequence[Frame]) -> str:
    """Return what a viewer shows: an epoch that restarts clears it."""
    text = ""
    for frame in list(frames):
        if frame.name == "epoch" and frame.data["reason"] == "restarted":
            text = ""
        elif frame.name == "chunk":
            text += frame.data["delta"].get("content") or ""
    return text


def frames_in(answer: Any) -> Iterator[Frame]:
    """Yield the events of a stream."""
    fields: dict[str, str] = {}
    for line in answer:
        text = line.decode().rstrip("\n")
        if text.startswith(":"):
            continue
        if text:
            name, _, value = text.partition(": ")
            fields[name] = value
        elif fields:
            yield Frame(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}
