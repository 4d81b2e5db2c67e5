"""A peer that can't be had is a row of its own; the rest of the gateway's bench is run by test_main."""

import pytest

from benchmarks import gateway, peers
from benchmarks.rounds import Role


def test_a_peer_that_cannot_be_installed_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise peers.PeersMissing("no network")

    monkeypatch.setattr(peers, "ensure", fails)

    with gateway.contestants(stream=False, with_peers=True) as contestants:
        last = contestants[-1]

    assert (last.name, last.role, last.measure, last.failure) == (
        gateway.LITELLM,
        Role.PEER,
        None,
        "no network",
    )
