"""The way of one call along its alias's chain: pure, with the far side as plain entries."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from meshcore.alias import AliasBook
from meshcore.breaker_terms import Refusal
from meshcore.capability import CapabilityDescriptor, asked_model
from meshcore.chain import Walk, walk_for
from meshcore.errors import Code
from meshcore.registry import Entry, Peer, PeerRecord
from meshcore.routing import Choice, Question, choose
from meshcore.trace import AliasSkip, Reason

BOOK = AliasBook({"mesh/two-step": ("alpha/m1", "beta/m2", "gamma/m3")})
QUESTION = Question(capability="llm.chat", version=(1, 0), params={"model": "mesh/two-step"})


def offer(provider: str, model: str, node: str = "", **params: Any) -> Entry:
    """Return an entry of this node, or of the peer `node`."""
    descriptor = CapabilityDescriptor(
        name="llm.chat", provider=provider, params={"model": model, **params}, max_concurrent=10
    )
    return Entry(node or "node-a", descriptor, Peer(PeerRecord(node), heard_at=0.0) if node else None)


def way_for(params: dict[str, Any], body: dict[str, Any], book: AliasBook) -> Walk | None:
    return walk_for(asked_model(params), params, body, book)


def walk(body: dict[str, Any] | None = None) -> Walk:
    found = way_for({"model": "mesh/two-step"}, body or {}, BOOK)
    assert found is not None
    return found


def look(question: Question, entries: Iterable[Entry], *, broken: Iterable[Entry] = ()) -> Choice:
    """Choose as routing does, with some breakers open."""
    open_ones = [entry.breaker_key for entry in broken]

    def refusal_of(key: str, model: str) -> Refusal | None:
        return Refusal(Reason.BREAKER_OPEN, 41.0) if key in open_ones else None

    return choose(question, entries, now=0.0, freshness_seconds=60.0, refusal_of=refusal_of)


def names(choice: Choice) -> list[str]:
    return [f"{r.entry.node_id}:{r.entry.descriptor.provider}/{r.model}" for r in choice.ordered]


def test_a_plain_model_a_pinned_one_and_one_that_is_no_text_take_no_walk() -> None:
    assert way_for({"model": "m1"}, {}, BOOK) is None
    assert way_for({"model": "mesh/two-step", "provider": "upstream"}, {}, BOOK) is None
    assert way_for({"model": 3}, {}, BOOK) is None


def test_the_chain_goes_before_scores_and_routing_decides_within_an_entry() -> None:
    entries = [offer("beta", "m2"), offer("alpha", "m1", "node-b"), offer("alpha", "m1")]

    choice = walk().choose(QUESTION, entries, look, attempts_left=3)

    assert names(choice) == ["node-a:alpha/m1", "node-b:alpha/m1", "node-a:beta/m2"]


def test_each_entry_that_is_passed_over_has_its_reason() -> None:
    alpha, beta = offer("alpha", "m1"), offer("beta", "m2", tools=False)
    way = walk({"openai": {"tools": [{"type": "function"}]}})

    choice = way.choose(QUESTION, [alpha, beta], partial(look, broken=[alpha]), attempts_left=3)

    assert choice.ordered == []
    assert [(c.node, c.provider, c.model, c.reason) for c in choice.refused] == [
        ("node-a", "alpha", "m1", Reason.BREAKER_OPEN),
        ("node-a", "beta", "m2", Reason.NO_TOOLS),
        ("", "gamma", "m3", Reason.UNCONFIGURED),
    ]
    assert way.skipped(served=False) == (
        AliasSkip(entry="alpha/m1", reason="breaker_open", detail="41 s left"),
        AliasSkip(entry="beta/m2", reason="no_tools"),
        AliasSkip(entry="gamma/m3", reason="unconfigured", detail="no provider gamma"),
    )


def test_a_provider_that_does_not_offer_the_model_is_named() -> None:
    choice = walk().choose(QUESTION, [offer("gamma", "other", "node-c")], look, attempts_left=3)

    assert choice.refused[2].detail == "not offered by gamma of node-c"


def test_a_node_that_can_stands_in_for_one_of_the_same_entry_that_can_not() -> None:
    entries = [offer("alpha", "m1", tools=False), offer("alpha", "m1", "node-b", tools=True)]

    choice = walk({"openai": {"tools": [{}]}}).choose(QUESTION, entries, look, attempts_left=3)

    assert names(choice) == ["node-b:alpha/m1"]
    assert choice.refused[0].reason is Reason.NO_TOOLS


def test_an_entry_that_was_tried_is_not_tried_there_again() -> None:
    here, there, beta = offer("alpha", "m1"), offer("alpha", "m1", "node-b"), offer("beta", "m2")
    way = walk()
    way.trying(here, "m1")

    choice = way.choose(QUESTION, [here, there, beta], look, attempts_left=2)

    assert names(choice) == ["node-b:alpha/m1", "node-a:beta/m2"]
    assert [c.reason for c in choice.refused if c.provider == "alpha"] == [Reason.EXCLUDED]


def test_the_last_attempts_are_kept_for_the_entries_that_were_not_tried() -> None:
    here, there, beta = offer("alpha", "m1"), offer("alpha", "m1", "node-b"), offer("beta", "m2")
    way = walk()
    way.trying(here, "m1")

    choice = way.choose(QUESTION, [here, there, beta], look, attempts_left=1)

    assert names(choice) == ["node-a:beta/m2", "node-b:alpha/m1"]


def test_two_models_of_one_provider_are_two_entries() -> None:
    book = AliasBook({"mesh/two-step": ("alpha/m1", "alpha/m2")})
    both = offer("alpha", "m1", models=["m1", "m2"])
    way = way_for({"model": "mesh/two-step"}, {}, book)
    assert way is not None
    way.trying(both, "m1")

    choice = way.choose(QUESTION, [both], look, attempts_left=2)

    assert names(choice) == ["node-a:alpha/m2"]


def test_of_a_served_call_only_what_stood_before_was_passed_over() -> None:
    beta = offer("beta", "m2")
    way = walk()
    way.choose(QUESTION, [beta], look, attempts_left=3)
    way.trying(beta, "m2")

    assert [skip.entry for skip in way.skipped(served=True)] == ["alpha/m1"]
    assert [skip.entry for skip in way.skipped(served=False)] == ["alpha/m1", "gamma/m3"]


def test_an_entry_that_failed_was_not_passed_over() -> None:
    alpha = offer("alpha", "m1")
    way = walk()
    way.choose(QUESTION, [alpha], look, attempts_left=3)
    way.trying(alpha, "m1")
    way.choose(QUESTION, [alpha], partial(look, broken=[alpha]), attempts_left=2)

    assert [skip.entry for skip in way.skipped(served=False)] == ["beta/m2", "gamma/m3"]


def test_what_is_asked_of_an_entry_names_model_and_provider() -> None:
    params = walk().params({"model": "mesh/two-step", "seed": 7}, offer("beta", "m2"), "m2")

    assert params == {"model": "m2", "provider": "beta", "seed": 7}


def refusals(way: Walk, *entries: Entry, **fields: Any) -> Any:
    choice = way.choose(QUESTION, entries, partial(look, **fields), attempts_left=3)
    return way.nobody(QUESTION, choice.refused)


def test_the_request_is_at_fault_only_when_no_entry_can_do_what_it_needs() -> None:
    body: dict[str, Any] = {"openai": {"tools": [{}]}}
    lacking, able = offer("alpha", "m1", tools=False), offer("beta", "m2", tools=True)

    nobody_can = refusals(walk(body), lacking)
    somebody_could = refusals(walk(body), lacking, able, broken=[able])

    assert nobody_can.code == Code.BAD_REQUEST
    assert nobody_can.message.endswith("can do what the request needs: takes no tools")
    assert somebody_could.code == Code.NO_HEALTHY_PROVIDER


def test_a_full_entry_beside_one_that_nobody_has_is_a_matter_of_capacity() -> None:
    busy = offer("alpha", "m1")
    busy.in_flight = 10

    assert refusals(walk(), busy).code == Code.CAPACITY_EXCEEDED


def test_a_chain_that_nobody_offers_is_no_healthy_provider() -> None:
    error = refusals(walk())

    assert error.code == Code.NO_HEALTHY_PROVIDER
    assert error.message == "nobody offers any entry of mesh/two-step: alpha/m1, beta/m2, gamma/m3"


def test_an_unknown_alias_is_not_found_and_the_known_ones_are_listed() -> None:
    way = way_for({"model": "mesh/nope"}, {}, BOOK)
    assert way is not None

    error = refusals(way, offer("alpha", "m1"))

    assert (error.code, way.alias) == (Code.NOT_FOUND, "")
    assert error.message == "model: no alias 'mesh/nope'; known are mesh/two-step"


def test_the_list_of_known_aliases_is_bounded() -> None:
    many = AliasBook({f"mesh/a{n:03}": ("a/b",) for n in range(60)})
    way = way_for({"model": "mesh/nope"}, {}, many)
    none = way_for({"model": "mesh/nope"}, {}, AliasBook())
    assert way is not None
    assert none is not None

    assert refusals(way).message.endswith("mesh/a049 and 10 more")
    assert refusals(none).message.endswith("known are none")
