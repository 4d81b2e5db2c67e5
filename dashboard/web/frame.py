"""What every page shows around its content."""

from datetime import datetime
from typing import Any

from dashboard.selectors import changes
from dashboard.services.rights import Right
from dashboard.web.guard import REFUSALS, Visitor


def frame(visitor: Visitor, *, section: str, now: datetime, live_page: str = "") -> dict[str, Any]:
    """Return the context that base.html needs; `live_page` names the page to live.js, empty for none.

    Call it before reading anything else: what changes from here on is told to the page by its socket.
    """
    return {
        "section": section,
        "now": now,
        "live_page": live_page,
        "cursor": changes.latest_id() if live_page else None,
        "may": visitor.may,
        "refused_drain": REFUSALS[Right.DRAIN],
        "refused_breakers": REFUSALS[Right.BREAKERS],
        "refused_cancel": REFUSALS[Right.CANCEL_RUN],
    }
