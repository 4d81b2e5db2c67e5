"""Icons, drawn into the page: no request, and they take the colour of the text beside them."""

from functools import lru_cache

import lucide
from django import template
from django.utils.safestring import SafeString, mark_safe
from lucide.templatetags.lucide import lucide as draw

register = template.Library()

IconDoesNotExist = lucide.IconDoesNotExist


@register.simple_tag
@lru_cache(maxsize=256)
def icon(name: str) -> SafeString:
    """Return a lucide icon as `<svg>`; a picture beside words, so it is hidden from screen readers.

    Raises IconDoesNotExist for a name that lucide doesn't have.
    """
    return mark_safe(draw(name, size=16, aria_hidden="true", focusable="false"))  # noqa: S308 - from the package
