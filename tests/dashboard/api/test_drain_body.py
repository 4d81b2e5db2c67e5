"""The drain's body: bytes in, an ask or a named refusal out."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.api.body import BodyError
from dashboard.api.drain_body import DRAIN_KEYS, DrainAction, parse


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"action":"drain"}'])
def test_nothing_means_drain(raw: bytes) -> None:
    ask = parse(raw)

    assert (ask.action, ask.wishes) == (DrainAction.DRAIN, {})


def test_what_is_asked_for_is_passed_on() -> None:
    wishes: dict[str, Any] = {
        "reason": "r",
        "deadline_seconds": None,
        "force": False,
        "sticky": True,
        "expires_seconds": 5,
        "meta": {"a": [1, None]},
        "override_guards": False,
    }

    ask = parse(json.dumps(wishes).encode())

    assert ask.wishes == wishes
    assert set(wishes) == set(DRAIN_KEYS)


def test_a_cancel_takes_a_reason_and_nothing_more() -> None:
    ask = parse(b'{"reason": "done", "action": "cancel"}')

    assert (ask.action, ask.wishes) == (DrainAction.CANCEL, {"reason": "done"})
    with pytest.raises(BodyError, match="sticky") as refused:
        parse(b'{"action": "cancel", "sticky": true}')
    assert refused.value.field == "sticky"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def refusal(raw: bytes) -> BodyError:
    """Return why a body is refused."""
    with pytest.raises(BodyError) as refused:
        parse(raw)
    json.dumps([refused.value.message, refused.value.field], ensure_ascii=False).encode()  # can be answered
    return refused.value


@given(st.binary(min_size=1).filter(lambda raw: not raw.lstrip().startswith(b"{")))
def test_bytes_that_are_no_object_are_refused(raw: bytes) -> None:
    assert refusal(raw).field == ""


@given(JSON.filter(lambda value: not isinstance(value, dict)))
def test_json_that_is_no_object_is_refused(value: Any) -> None:
    refusal(json.dumps(value).encode())


@given(st.text(st.characters()).filter(lambda key: key not in {"action", *DRAIN_KEYS}), JSON)
def test_a_key_that_nobody_knows_is_refused(key: str, value: Any) -> None:
    refusal(json.dumps({"force": True, key: value}).encode())


@given(JSON.filter(lambda value: value not in ("drain", "cancel")))
def test_an_action_that_nobody_knows_is_refused(value: Any) -> None:
    refusal(json.dumps({"action": value}).encode())


@given(st.sampled_from(DrainAction), st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_an_action_is_never_taken_for_the_other(action: DrainAction, reason: str) -> None:
    assert parse(json.dumps({"reason": reason, "action": action}).encode()).action is action
