"""A node's gate, looked at again and again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.harness import Node, get_json, status_of

LOOK_SECONDS = 0.01  # between two looks at a gate


def word_of_gate(node: Node) -> str:
    url = f"{node.url}/readyz"
    return str(get_json(url)["status"]) if status_of(url) else ""


@contextmanager
def watched_gate(node: Node) -> Iterator[list[str]]:
    """Look at a node's gate again and again while the context lasts; gives its words, "" for no answer."""
    words: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(LOOK_SECONDS):
            words.append(word_of_gate(node))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield words
    finally:
        stop.set()
        thread.join()
