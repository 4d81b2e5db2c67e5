"""What renders, for tests of the fan-out: names and counts instead of cells."""

import threading
from collections.abc import Sequence
from datetime import datetime

from dashboard.live.viewer import ALL


class Printer:
    """Renders names and counts, and can be held up."""

    def __init__(self) -> None:
        self.rendered: list[tuple[str, str]] = []
        self.go = threading.Event()
        self.go.set()
        self.broken = {"node:broken"}

    def is_news(self, key: str) -> bool:
        return key != "heard"

    def concerning(self, page: str, keys: Sequence[str]) -> list[str]:
        every = {"heard": ("fleet", "node:"), "nodes": ("fleet",), "runs:node-a": ("runs", "run:")}
        kind = page.partition(":")[0] + ":" * (":" in page)
        return [
            key
            for key in keys
            if {page, kind} & set(every.get(key, ()))
            or (key.startswith("node:") and page in ("fleet", key))
            or key == page
        ]

    def render(self, page: str, keys: Sequence[str], now: datetime) -> dict[str, str]:
        assert self.go.wait(10)
        return {key: self._render(page, key) for key in keys}

    def _render(self, page: str, key: str) -> str:
        self.rendered.append((page, key))
        if key in self.broken:
            raise ValueError("a template is broken")
        return f"<span>{page} {key} {len(self.rendered)}</span>"

    def render_all(self, page: str, now: datetime) -> str:
        return self.render(page, [ALL], now)[ALL]
