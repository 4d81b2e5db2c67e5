"""A push of live cells: each a swap, one that can't be rendered in its place as one that says so.

What stood there before would be taken for the present.
"""

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from dashboard.selectors.nodes import NodeNow
from dashboard.selectors.shortlist import Column

logger = logging.getLogger(__name__)

OOB = mark_safe(' hx-swap-oob="true"')


class Sheet:
    """The cells of one push, in order; what can't be rendered says so, and the log has how many and why."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._cells: list[SafeString] = []
        self._faults: list[Exception] = []

    def cell(self, name: str, context: Mapping[str, Any], *names: str, template: str = "cells.html") -> None:
        """Add the cell `name`; its id is made of that and `names`."""
        context = {"now": self._now, **context, "oob": OOB}
        try:
            self._cells.append(render_to_string(f"{template}#{name}", context))
        except Exception as exc:
            self._faults.append(exc)
            self._cells.append(render_to_string("cells.html#broken", {"id": [name, *names], "oob": OOB}))

    def rows(self, names: Iterable[str], rows: Iterable[NodeNow | Column], **more: Any) -> None:
        """Add cells of nodes."""
        names = tuple(names)
        for row in rows:
            for name in names:
                self.cell(name, {"row": row, **more}, row.name)

    def text(self) -> str:
        """Return all cells."""
        if self._faults:
            logger.error("%d cells can't be rendered", len(self._faults), exc_info=self._faults[0])
        return "".join(self._cells)
