"""Peers that can't be had are rows of their own."""

import pytest

from benchmarks import breaker, peers


def test_peers_that_cannot_be_installed_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise peers.PeersMissing("no network")

    monkeypatch.setattr(peers, "ensure", fails)

    with breaker.contestants(with_peers=True) as contestants:
        failures = [each.failure for each in contestants]

    assert failures == ["", "no network", "no network", "no network"]


def test_peers_are_measured_by_the_python_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "ensure", lambda: "python-of-peers")

    with breaker.contestants(with_peers=True) as contestants:
        assert [each.failure for each in contestants] == ["", "", "", ""]
        assert all(each.measure is not None for each in contestants)
