"""Limits are above zero."""

import pytest

from dashboard.serving.limits import Limits


def test_a_limit_of_nothing_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="body_bytes=0: expected more than 0"):
        Limits(body_bytes=0)
