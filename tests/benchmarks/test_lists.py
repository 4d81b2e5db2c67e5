"""Where the bench of lists has its databases from."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import lists
from benchmarks.servers import ServerFailed


@pytest.mark.parametrize("text", ["9999", "10000001", "many", ""])
def test_a_number_of_calls_out_of_bounds_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_BENCH_TRACES", text)

    with pytest.raises(ServerFailed, match="expected a number from 10000 to 10000000"):
        lists._calls()


def test_databases_that_are_filled_are_taken_as_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MESH_BENCH_DATABASES", "sqlite:////a postgres://b/c")

    with ExitStack() as stack:
        assert list(lists._databases(stack, tmp_path)) == [("sqlite:////a", True), ("postgres://b/c", True)]


def test_a_database_that_does_not_open_is_a_sentence(tmp_path: Path) -> None:
    turns = lists.Turns("mysql://nowhere", tmp_path)
    try:
        with pytest.raises(ServerFailed, match="DATABASE_URL"):
            turns.measure("newest", 0.1)
    finally:
        turns.end()
