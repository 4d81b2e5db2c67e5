"""Header fields."""

import pytest

from meshcore.aio.http_fields import Headers


def test_headers_are_found_whatever_the_case_of_their_names() -> None:
    headers = Headers({b"x-a": b" gr\xfc\xdfe \t", b"b": b""})

    assert headers["X-A"] == headers.get("x-a") == "grüße"
    assert (headers.get("B"), headers.get("C"), headers.get("C", "-")) == ("", "", "-")
    assert dict(headers) == {"x-a": "grüße", "b": ""}
    assert len(headers) == 2
    with pytest.raises(KeyError):
        headers["C"]
