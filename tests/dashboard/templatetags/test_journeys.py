"""Why a call went where it went, in words."""

from types import SimpleNamespace
from typing import Any

import pytest

from dashboard.templatetags import journeys
from meshcore.trace import Reason
from tests.dashboard.web.factory import CANDIDATES, FAILED_OVER, SKIPPED_ALIAS, SPLICE, SPLICED


def said(*, alias: str = "", served: str = "", **parts: list[dict[str, Any]]) -> list[str]:
    """Return the sentences on a call that node-b was asked."""
    lists: dict[str, Any] = {key: [] for key in ("candidates", "attempts", "splices", "alias_skips")}
    trace = SimpleNamespace(alias=alias, model_served=served, node=SimpleNamespace(name="node-b"))
    return journeys.reasons(SimpleNamespace(trace=trace, **{**lists, **parts}))


def candidate(rank: int, node: str, value: float | None, *, load: float = 0.1) -> dict[str, Any]:
    score = None if value is None else {"value": value, "load": load}
    return {"rank": rank, "node": node, "provider": "ollama", "score": score}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"reason": "breaker_open", "detail": "41 s left"}, "breaker open, 41 s left"),
        ({"reason": "breaker_open", "seconds_remaining": 40.6}, "breaker open, 41 s left"),
        ({"reason": "breaker_open"}, "breaker open"),
        ({"reason": "cooling", "detail": "9 s left"}, "cools down after a rate limit, 9 s left"),
        ({"reason": "draining"}, "is draining"),
        ({"reason": "capacity", "detail": "12 of 12 in flight"}, "12 of 12 in flight"),
        ({"reason": "capacity"}, "all its places were taken"),
        ({"reason": "params"}, "does not offer this model"),
        ({"reason": "params", "detail": "doesn't stream"}, "doesn't stream"),
        ({"reason": "version", "detail": "offers 1.0"}, "offers 1.0"),
        ({"reason": "no_tools", "detail": "takes no tools"}, "takes no tools"),
        ({"reason": "context", "detail": "room for 9"}, "the request is too long for it, room for 9"),
        ({"reason": "hop"}, "already on this call's path"),
        ({"reason": "from_the_future", "detail": "so it is"}, "from the future, so it is"),
        ({"detail": "odd"}, "odd"),
        ({}, ""),
    ],
)
def test_a_refusal_in_words(given: dict[str, Any], words: str) -> None:
    assert journeys.refusal(given) == words


def test_every_reason_has_words_of_its_own() -> None:
    assert journeys.REFUSALS.keys() == set(Reason)
    assert len(set(journeys.REFUSALS.values())) == len(Reason)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        ({"provider": "ollama", "node": "node-b"}, "ollama, local"),
        ({"provider": "ollama", "node": "local"}, "ollama, local"),
        ({"provider": "ollama"}, "ollama, local"),
        ({"provider": "ollama", "node": "node-c"}, "ollama on node-c"),
        ({"provider": "ollama", "node": ""}, "ollama"),
        ({"node": "node-c"}, "any provider on node-c"),
    ],
)
def test_a_provider_and_its_place(one: dict[str, Any], words: str) -> None:
    assert journeys.where(one, "node-b") == words


def test_a_call_that_failed_over_is_told_from_its_begin() -> None:
    assert said(candidates=CANDIDATES, attempts=FAILED_OVER) == [
        "4 of 6 candidates could not be tried.",
        "Local first: the load of ollama, 0.24, is under 0.80.",
        "local ollama failed with timeout, so ollama on node-c was tried.",
    ]


def test_an_alias_says_where_it_led_and_past_what() -> None:
    assert said(
        alias="mesh/fast", served="qwen-32b", alias_skips=[SKIPPED_ALIAS, {"reason": "no_tools"}, {}]
    ) == [
        "mesh/fast led to qwen-32b, past groq/llama-3.1-70b (breaker open, 41 s left), "
        "an entry (takes no tools), an entry (passed over)."
    ]
    assert said(alias="mesh/fast", served="qwen-32b") == ["mesh/fast led to qwen-32b."]
    assert said(alias="mesh/fast") == ["mesh/fast led nowhere."]


def test_a_splice_is_told_once() -> None:
    assert said(attempts=SPLICED, splices=[SPLICE]) == [
        "After 42 chunks local ollama broke off (partition); vllm on node-c went on from there."
    ]


@pytest.mark.parametrize(
    ("splice", "begin"),
    [
        ({**SPLICE, "after_chunks": 1}, "After 1 chunk local ollama broke off (partition);"),
        ({**SPLICE, "after_chunks": None, "reason": ""}, "Midway local ollama broke off;"),
        ({}, "Midway local provider broke off;"),
    ],
)
def test_a_splice_of_another_version_is_told_as_far_as_known(splice: dict[str, Any], begin: str) -> None:
    (words,) = said(splices=[splice])

    assert words.startswith(begin)


@pytest.mark.parametrize(
    ("candidates", "words"),
    [
        ([], []),
        ([{"reason": "hop"}], ["None of 1 candidate could be tried."]),
        ([candidate(1, "node-c", 80.0)], ["ollama on node-c was the only one that could."]),
        (
            [candidate(2, "node-d", 88.0), candidate(1, "node-c", 80.0)],
            ["ollama on node-c before ollama on node-d: score 80 against 88, and less is better."],
        ),
        (
            [candidate(1, "node-c", 88.0), candidate(2, "node-d", 80.0)],
            [
                "ollama on node-c before ollama on node-d in spite of score 88 against 80: "
                "the other is loaded, or its own node calls it unavailable."
            ],
        ),
        (
            [candidate(1, "local", 88.0, load=0.8), candidate(2, "node-d", 90.0)],
            ["local ollama before ollama on node-d: score 88 against 90, and less is better."],
        ),
        (
            [candidate(1, "local", 88.0), candidate(2, "node-b", 90.0)],
            ["local ollama before local ollama: score 88 against 90, and less is better."],
        ),
        (
            [candidate(1, "node-c", None), candidate(2, "node-d", 90.0)],
            ["ollama on node-c before ollama on node-d."],
        ),
        (
            [candidate(1, "local", None), candidate(2, "node-d", 90.0)],
            ["local ollama before ollama on node-d."],
        ),
    ],
)
def test_why_the_first_was_the_first(candidates: list[dict[str, Any]], words: list[str]) -> None:
    assert said(candidates=candidates) == words


def test_an_alias_orders_by_its_chain_and_not_by_score() -> None:
    chain = [{**candidate(n, "node-c", 99.0 - n), "model": f"m{n}"} for n in (1, 2)]

    assert said(candidates=chain) == ["The alias names ollama/m1 before ollama/m2."]


def test_who_was_refused_only_for_the_rest_of_an_answer_is_counted_as_fit() -> None:
    again = {"node": "node-c", "provider": "ollama", "reason": "params", "detail": "can't go on"}

    assert said(candidates=[candidate(1, "node-c", 80.0), again]) == [
        "ollama on node-c was the only one that could."
    ]


def test_an_attempt_without_a_code_failed_with_an_error() -> None:
    attempts = [{"n": 1, "provider": "a"}, {"n": 2, "provider": "b", "node": "node-c"}]

    assert said(attempts=attempts) == ["local a failed with an error, so b on node-c was tried."]
