"""The list of traces, and one of them."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from dashboard.models import ErrorSignature, History, Removal
from dashboard.selectors import keyset
from tests.dashboard.web import example_mesh, factory
from tests.dashboard.web.conftest import HTMX, NOW

pytestmark = pytest.mark.django_db


def read(browser: Client, path: str, status: int = 200) -> str:
    response = browser.get(path)
    assert response.status_code == status
    return " ".join(response.content.decode().split())


def test_a_row_says_where_the_call_went_and_that_it_failed_over(viewer: Client) -> None:
    node = factory.seen_node("node-b", now=NOW)
    factory.trace(node, at=NOW, hops=2, routed_via="node-c", duration_ms=1269.4, why="failover")

    page = read(viewer, "/traces/")

    assert "shop → <b>node-c</b>" in page and "via node-b" in page
    assert "</svg>2</span>" in page
    assert "1 269" in page and "21 → 88" in page


@pytest.mark.parametrize("query", ["", "?outcome=error", "?code=no_healthy_provider&failed_over=1"])
def test_a_page_of_the_list_has_a_fixed_number_of_queries(
    viewer: Client, query: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    example_mesh.make(now=NOW)

    with django_assert_max_num_queries(3 + 5):  # who asks, and 5 of its own
        assert viewer.get(f"/traces/{query}").status_code == 200


def test_the_pager_leads_through_all_with_the_filter_kept(viewer: Client) -> None:
    node = factory.seen_node("node-a", now=NOW)
    for n in range(keyset.PAGE_ROWS + 1):
        factory.trace(node, at=NOW - timedelta(seconds=n), trace_id=f"t{n}")

    first = viewer.get("/traces/?node=node-a")
    older = first.context["page"].older
    assert f'href="?node=node-a&amp;before={older}" rel="next"' in first.content.decode()
    last = viewer.get(f"/traces/?node=node-a&before={older}")

    assert [row.trace_id for row in last.context["page"].rows] == [f"t{keyset.PAGE_ROWS}"]
    assert 'rel="prev"' in last.content.decode()


def test_a_search_that_stopped_says_how_far_it_came(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    node = factory.seen_node("node-a", now=NOW)
    for n in range(5):
        factory.trace(node, at=NOW - timedelta(seconds=n))
    monkeypatch.setattr(keyset, "WALK_ROWS", 3)

    page = read(viewer, "/traces/?code=timeout")

    assert "Nothing found so far." in page
    assert "Searched back to 05 Mar 14:21:05." in page
    assert "Go on" in page


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("outcome=okay", "outcome=&#x27;okay&#x27;: expected one of ok, error."),
        ("node=nowhere", "node=&#x27;nowhere&#x27;"),
        ("before=x", "expected a key"),
        ("code=oops", "code=&#x27;oops&#x27;"),
    ],
)
def test_a_typo_in_the_address_is_told_and_not_an_empty_list(viewer: Client, query: str, words: str) -> None:
    assert words in read(viewer, f"/traces/?{query}", 400)


def test_empty_lists_say_what_to_do(viewer: Client) -> None:
    assert "No call has been told of yet" in read(viewer, "/traces/")
    assert "No trace fits the filter" in read(viewer, "/traces/?outcome=error")


def test_the_newest_rows_are_live_until_paused(viewer: Client) -> None:
    assert 'data-live-page="traces"' in read(viewer, "/traces/")
    paused = read(viewer, "/traces/?pause=1")
    assert "data-live-page" not in paused and "Go on live" in paused


def test_the_rows_come_alone_with_their_own_address(viewer: Client) -> None:
    part = viewer.get("/traces/?outcome=ok", headers=HTMX).content.decode()

    assert part.strip().startswith('<div id="rows"')
    assert 'hx-get="/traces/?outcome=ok"' in part


def test_the_story_has_attempts_candidates_and_the_command(viewer: Client) -> None:
    node = factory.seen_node("node-b", now=NOW)
    trace = factory.trace(
        node,
        at=NOW,
        attempts=factory.FAILED_OVER,
        hops=2,
        routed_via="node-c",
        why="failover",
        trace_id="7f3a91cc01",
    )

    page = read(viewer, f"/traces/{trace.pk}/")

    assert "Trace 7f3a91cc… was served by node-c" in page
    assert "ok, 1 failover" in page and "an earlier choice failed" in page
    assert "no first token within 1.0 s" in page
    assert "breaker open, 41 s left" in page
    assert "66 ms × (1 + load 0.24) + 1000 × (1 − success 0.999) − 50 local" in page
    assert f"/api/v1/traces/{trace.pk}" in page


def test_a_story_says_why_in_sentences_and_refusals_in_words(viewer: Client) -> None:
    node = factory.seen_node("node-b", now=NOW)
    trace = factory.trace(node, at=NOW, attempts=factory.FAILED_OVER, hops=2, routed_via="node-c")

    page = read(viewer, f"/traces/{trace.pk}/")

    assert "<li>Local first: the load of ollama, 0.24, is under 0.80.</li>" in page
    assert "does not offer this model" in page and "12 of 12 in flight" in page


def test_what_only_an_alias_names_stands_on_no_node(viewer: Client) -> None:
    nowhere = {
        "node": "",
        "provider": "groq",
        "model": "llama-3.1-70b",
        "reason": "unconfigured",
        "detail": "no provider groq",
    }
    detail = {"candidates": [nowhere]}
    trace = factory.trace(factory.seen_node("node-b", now=NOW), at=NOW, attempts=[], detail=detail)

    page = read(viewer, f"/traces/{trace.pk}/")

    assert '<td>–</td><td class="name">groq/llama-3.1-70b</td>' in page
    assert "no provider groq" in page


def test_a_spliced_answer_is_shown_where_it_was_spliced(viewer: Client) -> None:
    trace = example_mesh.spliced(example_mesh.make(now=NOW), now=NOW)

    page = read(viewer, f"/traces/{trace.pk}/")

    assert "2 tried, spliced 1 ×" in page and 'class="splice"' in page
    assert "After 42 chunks local ollama broke off (partition); vllm on node-c went on from there." in page
    assert "mesh/fast led to qwen-32b, past groq/llama-3.1-70b (breaker open, 41 s left)." in page
    assert "<dd>mesh/fast → qwen-32b</dd>" in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model_asked": "", "model_served": ""}, "default"),
        ({"model_asked": "a", "model_served": "a"}, "a"),
        ({"alias": "mesh/x", "model_asked": "a", "model_served": "b"}, "mesh/x → a → b"),
    ],
)
def test_the_way_from_the_name_to_the_model(viewer: Client, fields: dict[str, Any], words: str) -> None:
    trace = factory.trace(factory.seen_node("node-a", now=NOW), at=NOW, **fields)

    assert f"<dt>Model</dt><dd>{words}</dd>" in read(viewer, f"/traces/{trace.pk}/")


@pytest.mark.parametrize(
    ("fields", "link"),
    [
        ({"outcome": "error", "code": "timeout", "provider": "groq"}, "?code=timeout&amp;provider=groq"),
        ({"outcome": "error", "code": "timeout", "provider": ""}, '?code=timeout"'),
    ],
)
def test_the_same_error_is_one_click_away(viewer: Client, fields: dict[str, Any], link: str) -> None:
    trace = factory.trace(factory.seen_node("node-a", now=NOW), at=NOW, **fields)

    page = read(viewer, f"/traces/{trace.pk}/")

    assert f'href="/traces/{link}' in page
    assert "Same error elsewhere" in page


def test_a_call_that_went_well_has_no_error_elsewhere(viewer: Client) -> None:
    trace = factory.trace(factory.seen_node("node-a", now=NOW), at=NOW)

    assert "elsewhere" not in read(viewer, f"/traces/{trace.pk}/")


@pytest.mark.parametrize(
    ("fields", "title", "pill"),
    [
        ({"outcome": "error", "code": "timeout", "hops": 3}, "found no answer", "timeout, 2 failovers"),
        ({"why": "new word"}, "was served by node-a", "ok"),
    ],
)
def test_other_ends_have_their_words(viewer: Client, fields: dict[str, Any], title: str, pill: str) -> None:
    trace = factory.trace(factory.seen_node("node-a", now=NOW), at=NOW, **fields)

    page = read(viewer, f"/traces/{trace.pk}/")

    assert title in page
    assert f"</svg>{pill}</span>" in page
    assert "What was tried is not stored beside this trace." in page


def test_the_id_that_a_client_got_leads_to_its_newest_trace(viewer: Client) -> None:
    node = factory.seen_node("node-a", now=NOW)
    factory.trace(node, at=NOW - timedelta(seconds=1), trace_id="7f3a")
    newest = factory.trace(node, at=NOW, trace_id="7f3a")

    response = viewer.get("/traces/7f3a/")

    assert (response.status_code, response["Location"]) == (302, f"/traces/{newest.pk}/")


@pytest.mark.parametrize("ident", ["1", "9999999999999999999", "nothing", "9" * 400])
def test_what_is_not_there_is_a_404(viewer: Client, ident: str) -> None:
    assert "There is no trace" in read(viewer, f"/traces/{ident}/", 404)


@pytest.mark.parametrize(
    "query",
    [
        *("signature=1", "duration_ms_min=1000", "skipped=breaker_open", "alias=mesh/x"),
        "from=2026-03-05T14:00&to=2026-03-05T15:00&duration_ms_min=11.5",
    ],
)
def test_the_list_is_filtered_by_all_that_it_shows(viewer: Client, query: str) -> None:
    node = factory.seen_node("node-a", now=NOW)
    kind = ErrorSignature.objects.create(pk=1, text="timeout: after # s")
    slow = {"duration_ms": 1500.0, "skipped": 1 << 8, "alias": "mesh/x", "error_signature": kind}
    wanted = factory.trace(node, at=NOW, outcome="error", code="timeout", **slow)
    factory.trace(node, at=NOW, outcome="error", duration_ms=10.0)

    response = viewer.get(f"/traces/?{query}")

    assert [row.pk for row in response.context["page"].rows] == [wanted.pk]
    assert '<details class="more" open>' in response.content.decode()
    assert ("timeout: after # s" in response.content.decode()) is query.startswith("signature")
    assert 'href="/traces/?signature=1"' in read(viewer, f"/traces/{wanted.pk}/")


def test_what_was_removed_is_said_where_the_list_ends(viewer: Client) -> None:
    node = factory.seen_node("node-a", now=NOW)
    for n in range(keyset.PAGE_ROWS + 1):
        factory.trace(node, at=NOW - timedelta(seconds=n))
    older = viewer.get("/traces/").context["page"].older
    assert "removed" not in read(viewer, f"/traces/?before={older}")
    Removal.objects.create(kind=History.TRACES.value, removed=1204, removed_at=NOW)

    assert "Older traces were removed" not in read(viewer, "/traces/")
    last = read(viewer, f"/traces/?before={older}")
    assert "Older traces were removed: kept 7 days, failures and failovers 30 days. 1 204 so far" in last
    Removal.objects.update(early=4)
    assert "and 5 000 000 in all" in read(viewer, f"/traces/?before={older}")
