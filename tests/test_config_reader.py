"""Tables into sections: the bounds and the complaints that no whole file of test_config shows."""

import pytest

from meshcore.config_reader import Reader
from meshcore.config_sections import BusSection, PeerSection
from meshcore.errors import ConfigError

READER = Reader(file="node.toml", environ={})


def test_a_long_value_is_cut_in_the_complaint() -> None:
    with pytest.raises(ConfigError) as refusal:
        READER.section("bus", BusSection, {"bus": {"max_attempts": "x" * 10_000}})

    assert "x…: expected an integer" in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_the_value_under_an_unknown_key_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as refusal:
        READER.section("bus", BusSection, {"bus": {"token": "msh_secret"}})

    assert "msh_secret" not in str(refusal.value)


def test_entries_are_counted_from_one_in_complaints() -> None:
    peers = [{"id": "node-b", "url": "http://127.0.0.1:1"}, {"id": "Node C", "url": "http://127.0.0.1:2"}]

    with pytest.raises(ConfigError, match=r"peers\[2\]\.id = 'Node C': expected 1 to 63"):
        READER.entries("peers", PeerSection, {"peers": peers})


def test_an_entry_that_is_no_table_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"peers\[1\] = 3: expected a table"):
        READER.entries("peers", PeerSection, {"peers": [3]})


def test_more_entries_than_the_bound_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected at most 1000 \[\[peers\]\] tables"):
        READER.entries("peers", PeerSection, {"peers": [{}] * 1001})
