"""Where the time of a change goes."""

from pathlib import Path

import pytest

from benchmarks.live_stages import COMMIT, FEED, FIRST, LAST, LINK, RENDER, by_stage, read, taken

STAMPS = [
    (LINK, 9.0),
    (LINK, 10.1),
    (COMMIT, 10.3),
    (FEED, 10.4),
    (RENDER, 10.9),
    (RENDER, 11.5),
    (LINK, 13.0),
]


def test_a_change_is_followed_from_stage_to_stage() -> None:
    found = taken(STAMPS, begin=10.0, first=11.0, last=12.0)

    assert found == pytest.approx({LINK: 0.1, COMMIT: 0.2, FEED: 0.1, RENDER: 0.5, FIRST: 0.1, LAST: 1.0})


def test_a_stage_that_was_not_noted_is_in_the_next_one() -> None:
    found = taken([(LINK, 10.1), (FEED, 10.4)], begin=10.0, first=11.0, last=12.0)

    assert found == pytest.approx({LINK: 0.1, FEED: 0.3, FIRST: 0.6, LAST: 1.0})


def test_changes_are_gathered_by_stage_in_order() -> None:
    gathered = by_stage([{LAST: 1.0, LINK: 0.1}, {LINK: 0.2}])

    assert [(name, some) for name, some in gathered.items() if some] == [(LINK, [0.1, 0.2]), (LAST, [1.0])]


def test_what_a_server_noted_is_read_and_of_none_nothing(tmp_path: Path) -> None:
    file = tmp_path / "stages"
    assert read(file) == []

    file.write_text("node to link 10.5\ncommit 10.75\n")

    assert read(file) == [(LINK, 10.5), (COMMIT, 10.75)]
