"""Texts that people and programs give us: what can be stored, shown and printed."""

import unicodedata

REASON_MAX_CHARACTERS = 500


def is_storable(text: str) -> bool:
    """PostgreSQL takes no NUL, no encoding half a surrogate pair, and a terminal obeys control characters."""
    return all(char in "\n\r\t" or unicodedata.category(char) not in {"Cc", "Cs"} for char in text)


def complaint_about(text: str, *, most: int = REASON_MAX_CHARACTERS) -> str:
    """Return what is wrong with a text of at most `most` characters, "" when nothing is."""
    if len(text) > most:
        return f"{len(text)} characters: at most {most} are allowed"
    if not is_storable(text):
        return "control characters and half surrogate pairs are not allowed"
    return ""
