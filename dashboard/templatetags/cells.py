"""The ids of live cells, made in one place: pages, fragments and tests ask here."""

import re
from collections.abc import Sequence

from django import template

register = template.Library()

_PLAIN = re.compile(r"[^A-Za-z0-9-]")


@register.simple_tag
def cell(what: str, *names: str) -> str:
    """Return the id of a live cell, such as `c-state-node-a` or `c-breaker-node-a-ollama_2f_llama3`.

    Of several names the last has no dash left, so that the others end where it seems.
    """
    if not names:
        return f"c-{what}"
    *others, last = map(slug, names)
    return "-".join(["c", what, *others, last.replace("-", "_2d_") if others else last])


@register.filter
def cell_id(parts: Sequence[str]) -> str:
    """Return the id of the cell that is called so: what it shows, then the names."""
    return cell(*parts)


@register.filter
def slug(name: str) -> str:
    """Return `name` fit for an id; different names stay different."""
    return _PLAIN.sub(lambda sign: f"_{ord(sign.group()):x}_", name)
