"""What several nodes' words amount to."""

import pytest

from dashboard.selectors.testimony import PEER, PROVIDER, Finding, Phrases, find, names
from meshcore.breaker import BreakerState

SHORT = {
    "o": BreakerState.OPEN,
    "h": BreakerState.HALF_OPEN,
    "c": BreakerState.CLOSED,
    "s": BreakerState.SUSPECT,
    "F": BreakerState.FORCED_OPEN,
    "f": BreakerState.FORCED_CLOSED,
}


def found(states: str, phrases: Phrases = PROVIDER) -> Finding:
    """Return the finding on the states of node-a, node-b, … by their first letters."""
    return find(
        [(f"node-{chr(97 + at)}", SHORT[each]) for at, each in enumerate(states)],
        phrases=phrases,
    )


@pytest.mark.parametrize(
    ("states", "sentence", "odd"),
    [
        ("ccc", "", ""),
        ("csc", "", ""),
        ("", "", ""),
        ("coc", "only node-b sees it down: path, not provider", "b"),
        ("chcc", "only node-b sees it down: path, not provider", "b"),
        ("oco", "all but node-b see it down", "b"),
        ("oc", "node-a and node-b disagree", "ab"),
        ("co", "node-a and node-b disagree", "ab"),
        ("ooo", "all 3 nodes see it down: provider, not path", ""),
        ("oh", "all 2 nodes see it down: provider, not path", ""),
        ("o", "node-a sees it down, and no other node can tell", ""),
        ("oocc", "node-a and node-b see it down, 2 others don't", ""),
        ("ooooocc", "node-a, node-b, node-c and 2 more see it down, 2 others don't", ""),
        ("oosc", "node-a and node-b see it down, 1 other doesn't", ""),
    ],
)
def test_a_finding_on_a_provider(states: str, sentence: str, odd: str) -> None:
    finding = found(states)

    assert finding.sentence == sentence
    assert finding.odd == {f"node-{letter}" for letter in odd}


@pytest.mark.parametrize(
    ("states", "sentence"),
    [
        ("occ", "only node-a can't reach it: path, not node"),
        ("oco", "only node-b reaches it"),
        ("oo", "none of 2 nodes reaches it"),
        ("o", "node-a can't reach it, and no other node can tell"),
        ("ooccc", "node-a and node-b can't reach it, 3 others can"),
    ],
)
def test_a_finding_on_a_node(states: str, sentence: str) -> None:
    assert found(states, PEER).sentence == sentence


@pytest.mark.parametrize("states", ["occs", "oos", "os"])
def test_where_anybody_doubts_nobody_is_called_the_only_one(states: str) -> None:
    finding = found(states)

    assert finding.odd == frozenset()
    assert "only" not in finding.sentence and "all " not in finding.sentence
    assert finding.doubt == 1


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ("coc", "Only node-b sees groq down: path, not provider"),
        ("ooo", "All 3 nodes see groq down: provider, not path"),
        ("oocc", "node-a and node-b see groq down, 2 others don't"),
        ("oc", "groq: node-a and node-b disagree"),
    ],
)
def test_a_finding_can_name_the_thing(states: str, words: str) -> None:
    assert found(states).about("groq") == words


@pytest.mark.parametrize("wish", ["F", "f"])
def test_what_an_operator_forced_is_no_word_on_the_thing(wish: str) -> None:
    assert found(f"oc{wish}").sentence == "node-a and node-b disagree"
    assert found(f"{wish}cc").sentence == ""


def test_who_says_down_is_counted() -> None:
    assert (found("ohcs").down, found("ohcs").doubt) == (2, 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c", "d", "e"], "a, b, c and 2 more")],
)
def test_names_in_a_sentence(given: list[str], said: str) -> None:
    assert names(given) == said
