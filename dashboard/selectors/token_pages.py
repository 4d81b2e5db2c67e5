"""Tokens as a list; of their secrets nobody knows more than a hash."""

from dashboard.models import Token
from dashboard.selectors import keyset


def page(*, cursor: keyset.Cursor, rows: int = keyset.PAGE_ROWS) -> keyset.Page[Token]:
    """Return one page of tokens with the nodes that they are bound to, newest first; one query."""
    return keyset.page(Token.objects.select_related("node"), cursor=cursor, rows=rows)


def of_prefix(prefix: str) -> Token | None:
    """Return the token with that public prefix, or None; one query."""
    return Token.objects.select_related("node").filter(prefix=prefix).first()
