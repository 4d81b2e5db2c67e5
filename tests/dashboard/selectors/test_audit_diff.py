"""What an entry changed, as lines to read."""

from typing import Any

import pytest

from dashboard.selectors import audit_diff
from dashboard.selectors.audit_diff import LINES_MAX, VALUE_MAX_CHARACTERS, Kind, Line


def told(before: Any, after: Any) -> list[tuple[str, str, str, str]]:
    return [(line.path, line.kind.value, line.before, line.after) for line in audit_diff.lines(before, after)]


def test_what_changed_comes_first_and_what_stayed_last() -> None:
    before = {"force": False, "sticky": True, "note": "x"}
    after = {"force": True, "sticky": True, "until": None}

    assert told(before, after) == [
        ("force", "changed", "false", "true"),
        ("note", "removed", "x", ""),
        ("until", "added", "", "none"),
        ("sticky", "same", "true", "true"),
    ]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"a": 1}, [("a", "1")]),
        ({"a": "1"}, [("a", "1")]),
        ({"a": ""}, [("a", '""')]),
        ({"a": {"b": {"c": 1.5}}}, [("a.b.c", "1.5")]),
        ({"a": {}}, [("a", "{}")]),
        ({"a": []}, [("a", "[]")]),
        ({"fast": ["ollama:a", "vllm:b"]}, [("fast", "ollama:a, vllm:b")]),
        ({"a": [1, "ü"]}, [("a", '[1, "ü"]')]),
        ({}, [("value", "{}")]),
        (None, []),
        ("text", [("value", "text")]),
    ],
)
def test_values_are_told_as_people_read_them(document: Any, words: list[tuple[str, str]]) -> None:
    assert [(line.path, line.after) for line in audit_diff.lines(None, document)] == words
    assert [(line.path, line.before) for line in audit_diff.lines(document, None)] == words


def test_a_long_value_and_many_lines_have_a_bound() -> None:
    [line] = audit_diff.lines({"a": "x" * 5000}, None)
    assert len(line.before) == VALUE_MAX_CHARACTERS

    lines = audit_diff.lines(None, {str(n): n for n in range(LINES_MAX + 30)})
    assert len(lines) == LINES_MAX + 1
    assert lines[-1] == Line(path="30 more", kind=Kind.SAME, before="…", after="…")
