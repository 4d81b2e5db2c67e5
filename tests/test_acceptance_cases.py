"""The acceptance cases of bus-and-health §4: each is a test somewhere that names its number."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
CASES = frozenset(range(1, 40))
NAMED = re.compile(r"test_case_(\d+)_")


def cases_in(source: str) -> set[int]:
    """Return the numbers of the cases that the tests in `source` name."""
    functions = (
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return {int(match[1]) for name in functions if (match := NAMED.match(name))}


def test_every_case_has_a_test_and_every_number_is_a_case() -> None:
    found = set().union(*(cases_in(path.read_text()) for path in TESTS.rglob("test_*.py")))

    assert found == CASES


def test_a_case_counts_only_as_the_name_of_a_test() -> None:
    source = (
        "# test_case_1_x\ndef helper_case_2_x(): ...\nasync def test_case_3_x(): ...\ndef test_case_4(): ..."
    )

    assert cases_in(source) == {3}
