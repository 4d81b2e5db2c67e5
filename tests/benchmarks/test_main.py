"""Every bench runs to its table, without peers and for a moment; how fast anything is isn't judged."""

import pytest

from benchmarks import fleet
from benchmarks.__main__ import BENCHES, main, measure, parse
from benchmarks.servers import ServerFailed


@pytest.mark.parametrize("name", sorted(BENCHES.keys() - {"ingest"}))  # has databases to make: test_ingest.py
def test_a_bench_measures_ours_without_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_BENCH_TRACES", "10000")
    monkeypatch.setenv("MESH_BENCH_POSTGRES", "")
    monkeypatch.setattr(fleet, "NODES", 10)
    monkeypatch.setattr(fleet, "SETTLE_SECONDS", 0.0)
    text = measure(BENCHES[name], name, seconds=0.3, with_peers=False, rounds=1)

    title, _, ours, *_ = text.splitlines()
    assert title == name
    assert "(ours)" in ours
    assert "ERRORS" not in text
    assert "not measured" not in text


@pytest.mark.parametrize("seconds", ["0", "-1", "4000", "nan", "many"])
def test_seconds_out_of_bounds_are_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["bus", f"--seconds={seconds}"])

    assert "--seconds" in capsys.readouterr().err


def test_a_server_that_fails_is_a_sentence_and_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> str:
        raise ServerFailed("meshboard ended with exit code 1")

    monkeypatch.setattr("benchmarks.__main__.measure", fails)

    assert main(["gateway"]) == 1
    assert capsys.readouterr().err == "script/bench: meshboard ended with exit code 1\n"


def test_the_table_is_what_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.__main__.measure", lambda *_, **__: "table")

    assert main(["bus", "--no-peers"]) == 0
    assert capsys.readouterr().out == "table\n"
