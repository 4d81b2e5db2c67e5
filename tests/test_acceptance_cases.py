"""The acceptance cases: each is a test somewhere that names its number.

`test_case_N_…` are those of bus-and-health §4, `test_drain_case_N_…` those of runs-drain-relay part 5, drain.
"""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
CASES = {"case": range(1, 40), "drain_case": range(23, 31)}


def cases_in(source: str, kind: str) -> set[int]:
    """Return the numbers of the cases of one kind that the tests in `source` name."""
    named = re.compile(rf"test_{kind}_(\d+)_")
    functions = (
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return {int(match[1]) for name in functions if (match := named.match(name))}


@pytest.mark.parametrize("kind", CASES)
def test_every_case_has_a_test_and_every_number_is_a_case(kind: str) -> None:
    found = set().union(*(cases_in(path.read_text(), kind) for path in TESTS.rglob("test_*.py")))

    assert found == set(CASES[kind])


def test_a_case_counts_only_as_the_name_of_a_test() -> None:
    source = (
        "# test_case_1_x\ndef helper_case_2_x(): ...\nasync def test_case_3_x(): ...\ndef test_case_4(): ..."
        "\ndef test_drain_case_5_x(): ..."
    )

    assert cases_in(source, "case") == {3}
    assert cases_in(source, "drain_case") == {5}
