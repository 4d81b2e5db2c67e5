"""Matching what is asked with what is offered, and reading manifests."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.capability import (
    CAPABILITIES_MAX,
    CapabilityDescriptor,
    Manifest,
    Offer,
    RouteRequest,
    asked_model,
    describe,
    offered_models,
    params_match,
    parse_manifest,
    parse_version,
    version_serves,
)
from meshcore.errors import FrameError

CHAT = CapabilityDescriptor(
    name="llm.chat",
    provider="ollama",
    params={"model": "llama3", "models": ["llama3", "qwen"], "tools": True},
)


@pytest.mark.parametrize(
    ("requested", "serves"),
    [((1, 0), True), ((1, 2), True), ((1, 3), False), ((2, 0), False), ((0, 2), False)],
)
def test_offered_1_2_serves_its_major_up_to_its_minor(requested: tuple[int, int], serves: bool) -> None:
    assert version_serves((1, 2), requested) is serves


@pytest.mark.parametrize(
    ("requested", "fits"),
    [
        ({}, True),
        ({"model": None}, True),
        ({"model": ""}, True),
        ({"model": "llama3"}, True),
        ({"model": "qwen"}, True),
        ({"model": "gpt"}, False),
        ({"provider": "ollama"}, True),
        ({"provider": "groq"}, False),
        ({"tools": True}, True),
        ({"tools": False}, False),
        ({"temperature": 0.2}, True),
        ({"model": "qwen", "tools": False}, False),
    ],
)
def test_params_fit_key_by_key(requested: dict[str, Any], fits: bool) -> None:
    assert params_match(CHAT, requested) is fits


def test_who_offers_no_model_serves_none_by_name() -> None:
    assert not params_match(CapabilityDescriptor(name="llm.chat"), {"model": "llama3"})


def test_the_default_model_comes_first_and_once() -> None:
    assert offered_models(CHAT.params) == ("llama3", "qwen")
    assert offered_models({"models": ["a", "b"]}) == ("a", "b")


@pytest.mark.parametrize("params", [None, [], "x", 7])
def test_a_body_whose_params_are_no_object_asks_nothing(params: Any) -> None:
    assert RouteRequest("llm.chat", (1, 0), {"params": params}).params() == {}


def test_a_model_that_is_no_text_is_no_model() -> None:
    assert asked_model({"model": 7}) == ""


@pytest.mark.parametrize(
    "text", ["1", "1.0.0", "", "1.", ".1", "01.0", "-1.0", "1.x", " 1.0", "1.0\n", "1.9999999", "١.٠"]
)
def test_a_version_that_is_not_major_minor_is_refused(text: str) -> None:
    with pytest.raises(FrameError, match=r"expected major\.minor"):
        parse_version(text)


@given(st.integers(0, 999999), st.integers(0, 999999))
def test_every_version_is_read_back(major: int, minor: int) -> None:
    assert parse_version(f"{major}.{minor}") == (major, minor)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"{", "manifest"),
        (b'"\xff"', "manifest"),
        ({"capabilities": 7}, "capabilities"),
        ({"capabilities": [{}]}, "name"),
        (
            {"capabilities": [{"name": "ok"}, {"name": "llm.chat", "version": "1"}]},
            r"capabilities\[1\].version='1'",
        ),
        ({"capabilities": [{"name": ""}]}, r"capabilities\[0\].name=''"),
        ({"capabilities": [{"name": "a", "max_concurrent": 0}]}, r"max_concurrent=0"),
        ({"capabilities": [{"name": "a", "params": {"models": "llama3"}}]}, r"params.models"),
        ({"capabilities": [{"name": "a", "params": {"models": [1]}}]}, r"params.models"),
        ({"capabilities": [{"name": "a", "params": {"model": ["m"]}}]}, r"params.model=.*expected a text"),
        (b'{"capabilities":' + b"[" * 100_000, "manifest"),
        ({"capabilities": [{"name": "a"}] * (CAPABILITIES_MAX + 1)}, "at most 1000"),
    ],
)
def test_a_malformed_manifest_is_refused_by_field(raw: Any, named: str) -> None:
    with pytest.raises(FrameError, match=named):
        parse_manifest(raw)


def test_a_manifest_is_read_from_bytes_mapping_and_struct_alike() -> None:
    struct = Manifest(node_id="b", capabilities=(Offer(name="llm.chat", params={"models": ["m"]}),))
    mapping = {
        "node_id": "b",
        "capabilities": [{"name": "llm.chat", "params": {"models": ["m"]}, "later": 1}],
    }
    data = b'{"node_id": "b", "capabilities": [{"name": "llm.chat", "params": {"models": ["m"]}}]}'

    assert parse_manifest(struct) == parse_manifest(mapping) == parse_manifest(data) == struct


def test_an_offer_becomes_a_descriptor() -> None:
    offer = Offer(name="llm.chat", version="1.2", provider="ollama", params={"model": "m"}, max_concurrent=3)

    assert describe(offer) == CapabilityDescriptor(
        name="llm.chat", version=(1, 2), provider="ollama", params={"model": "m"}, max_concurrent=3
    )
