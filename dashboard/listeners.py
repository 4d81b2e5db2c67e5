"""Who is told of changes, by their keys.

Each link listens to keys of its own, so a change costs as much as it has listeners, not as there are links.
"""

import logging
from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

OnChange = Callable[[Sequence[int], Sequence[str]], None]
"""Called on the loop with the ids and the keys of changes, in order; an id of 0: only time has passed."""


class Listeners:
    """Those of a process; used on its loop alone. Patterns are those of `Runtime.on_change`."""

    def __init__(self) -> None:
        self._by_pattern: dict[str, dict[object, OnChange]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_pattern.values()))

    def add(self, pattern: str, callback: OnChange) -> Callable[[], None]:
        """Call `callback` for changes of `pattern` from now on; returns what ends it."""
        listener = object()
        self._by_pattern.setdefault(pattern, {})[listener] = callback

        def leave() -> None:
            callbacks = self._by_pattern.get(pattern, {})
            if callbacks.pop(listener, None) is not None and not callbacks:
                del self._by_pattern[pattern]

        return leave

    def tell(self, ids: Sequence[int], keys: Sequence[str]) -> None:
        """Tell each of what it listens to, in one call."""
        concerned: dict[str, list[int]] = {}
        for at, key in enumerate(keys):
            for pattern in _patterns(key):
                if pattern in self._by_pattern:
                    concerned.setdefault(pattern, []).append(at)
        for pattern, places in concerned.items():
            told = [ids[at] for at in places], [keys[at] for at in places]
            for callback in tuple(self._by_pattern.get(pattern, {}).values()):
                _call(callback, *told)


def _patterns(key: str) -> set[str]:
    """Return the patterns that a key concerns: itself, everything, and all of its kind."""
    kind, colon, _ = key.partition(":")
    return {key, "", kind + colon if colon else key}


def _call(callback: OnChange, ids: Sequence[int], keys: Sequence[str]) -> None:
    """Call one; its fault must not keep the news from the others."""
    try:
        callback(ids, keys)
    except Exception:
        logger.exception("a listener to changes failed")
