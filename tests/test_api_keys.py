"""Client API keys."""

import pytest

from meshcore.api_keys import ANONYMOUS, ApiKeys
from meshcore.errors import ConfigError


def test_a_key_gives_its_name_and_a_bare_one_its_place() -> None:
    keys = ApiKeys(["billing:secret-1", "secret-2"])

    assert keys.caller("Bearer secret-1") == "billing"
    assert keys.caller("bearer  secret-2 ") == "key-2"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic secret-1",
        "Digest secret-1",
        "secret-1",
        "Bearer billing:secret-1",
        "Bearer \udcff",
    ],
)
def test_anything_else_gives_nobody(authorization: str) -> None:
    assert ApiKeys(["billing:secret-1"]).caller(authorization) is None


def test_without_keys_everybody_is_anonymous() -> None:
    keys = ApiKeys()

    assert not keys
    assert keys.caller("") == keys.caller("Bearer whatever") == ANONYMOUS


@pytest.mark.parametrize("entry", ["", ":key", "name:"])
def test_an_entry_with_an_empty_part_is_refused_without_showing_it(entry: str) -> None:
    with pytest.raises(ConfigError, match="API key 2: expected KEY or NAME:KEY"):
        ApiKeys(["fine", entry])


def test_keys_do_not_show_in_its_text() -> None:
    keys = ApiKeys(["billing:secret-1"])

    assert "secret-1" not in repr(keys) + repr(vars(keys))
    assert keys
