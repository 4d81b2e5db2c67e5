"""The words of the link."""

import pytest

from meshcore.link_terms import LinkPolicy


@pytest.mark.parametrize(
    "wrong", [{"handshake_seconds": 0}, {"health_gap_seconds": -1}, {"health_jitter": 1}]
)
def test_a_policy_out_of_bounds_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        LinkPolicy(**wrong)
