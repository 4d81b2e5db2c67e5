"""The bench of ingest: its frames are whole, its turns count, and who can't be had says why."""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import ingest, ingest_items, peers, phoenix
from dashboard.services import ingest_items as items_of
from meshcore import framing
from meshcore.frames import FRAME_MAX_BYTES
from tests.engines import servers


def test_a_frame_is_one_that_a_node_may_send_and_nothing_of_it_is_refused() -> None:
    line = ingest_items.line(500, node=3)

    (frame,) = framing.reader_from_node().read(line)
    found = items_of.sort_out(frame, node_id=1, now=datetime.now(UTC))

    assert len(line) <= FRAME_MAX_BYTES
    assert (frame.after, frame.to) == (500, 500 + ingest_items.FRAME_ITEMS)
    assert found.refused == []
    assert [kept.seq for kept in found.kept] == list(range(501, frame.to + 1))


def test_ours_and_the_limit_store_traces() -> None:
    with ingest.contestants(with_peers=False, with_postgresql=False) as contestants:
        samples = {each.name: each.measure(0.2) for each in contestants if each.measure}

    assert set(samples) == {ingest.OURS_SQLITE, ingest.RAW_SQLITE}
    assert all(sample.count > 0 for sample in samples.values())


def test_without_postgresql_its_rows_say_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(_: object) -> None:
        raise servers.NoServer("run script/setup --engines")

    monkeypatch.setattr(servers, "postgres_answers", lambda _: False)
    monkeypatch.setattr(servers, "postgres_from_wheel", missing)

    with ExitStack() as stack:
        found = ingest._postgresql(stack, tmp_path)

    assert {each.name: each.failure for each in found} == dict.fromkeys(
        (ingest.OURS_POSTGRESQL, ingest.RAW_POSTGRESQL), "run script/setup --engines"
    )


def test_without_phoenix_its_row_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*_: object) -> None:
        raise peers.PeersMissing("no network")

    monkeypatch.setattr(peers, "ensure", fails)

    with ExitStack() as stack:
        assert phoenix.contestant(stack, tmp_path).failure == "no network"
