"""Texts of others: what can be stored, shown and printed."""

import pytest

from dashboard.services.words import complaint_about


@pytest.mark.parametrize("text", ["", "kernel update", "zwei\nZeilen\tund ein Ä", "r" * 500])
def test_what_people_write_is_fine(text: str) -> None:
    assert complaint_about(text) == ""


@pytest.mark.parametrize("text", ["\x00", "a\x1b[2Jb", "\ud800", "\x7f"])
def test_what_no_database_or_terminal_should_see_is_not(text: str) -> None:
    assert "not allowed" in complaint_about(text)


def test_what_is_too_long_is_named_with_its_bound() -> None:
    assert complaint_about("r" * 501) == "501 characters: at most 500 are allowed"
    assert complaint_about("key", most=2) == "3 characters: at most 2 are allowed"
