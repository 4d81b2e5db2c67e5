"""Charts."""

import re
from xml.etree import ElementTree

import pytest

from dashboard.selectors.strips import Level
from dashboard.templatetags import charts
from tests.dashboard.web.factory import CANDIDATES, FAILED_OVER, SPLICE, SPLICED


def parsed(svg: str) -> ElementTree.Element:
    """Return the SVG as XML, which it must be."""
    return ElementTree.fromstring(svg)  # noqa: S314 - our own


def rects(svg: str, kind: str) -> list[dict[str, float]]:
    """Return the numbers of each rectangle of a class."""
    return [
        {key: float(value) for key, value in each.attrib.items() if key != "class"}
        for each in parsed(svg).iter("rect")
        if each.get("class") == kind
    ]


def test_a_line_has_a_point_a_minute_and_its_highest_is_at_the_top() -> None:
    line = parsed(charts.sparkline((0.0, 2.0, 1.0), (0, 0, 0))).find("polyline")

    assert line is not None
    assert line.get("points") == "0.0,23.0 60.0,2.0 120.0,12.5"


def test_minutes_with_errors_are_marked_below_the_line() -> None:
    svg = charts.sparkline((1.0, 1.0, 1.0), (0, 3, 1))

    assert [mark["x"] for mark in rects(svg, "err")] == [60.0, 117.0]


def test_a_line_says_in_words_what_it_shows() -> None:
    words = parsed(charts.sparkline((1.0, 4.0, 2.0), (0, 3, 1))).get("aria-label")

    assert words == "requests a second: 4.0 at most, 2.0 now, 4 errors in 15 minutes"


@pytest.mark.parametrize(("rates", "bad"), [((), ()), ((0.0,), (0,)), ((0.0, 0.0), (0, 0))])
def test_a_line_of_nothing_is_no_fault(rates: tuple[float, ...], bad: tuple[int, ...]) -> None:
    assert parsed(charts.sparkline(rates, bad)).get("role") == "img"


def test_attempts_stand_one_behind_the_other_on_one_axis() -> None:
    svg = charts.waterfall(FAILED_OVER, [], "node-b")

    bad, wait, ok = (rects(svg, kind)[0] for kind in ("bad", "wait", "ok"))
    assert bad["x"] == charts.FALL_LABEL
    assert bad["x"] + bad["width"] == pytest.approx(wait["x"], abs=1)
    assert wait["x"] + wait["width"] == pytest.approx(ok["x"], abs=0.2)
    assert ok["x"] + ok["width"] == pytest.approx(charts.FALL_WIDTH - charts.FALL_NOTE, abs=0.2)


def test_who_was_passed_over_is_told_with_the_reason() -> None:
    svg = charts.waterfall(FAILED_OVER, CANDIDATES, "node-b")

    assert len(list(parsed(svg).iterfind("line[@class='skip']"))) == 4
    assert "passed over: breaker open, 41 s left" in svg
    assert "groq, local" in svg
    assert "ollama on node-a" in svg


def test_the_waterfall_has_its_text_equivalent() -> None:
    words = parsed(charts.waterfall(FAILED_OVER, [], "node-b")).get("aria-label")

    assert words == "Attempts. 1 · ollama, local: timeout, 1\u202f000 ms; 2 · ollama on node-c: ok, 268 ms"


def test_a_call_of_no_time_and_a_call_without_attempts_can_be_drawn() -> None:
    instant = charts.waterfall([{"n": 1, "node": "local", "provider": "echo"}], [], "node-a")

    assert rects(instant, "ok")[0]["width"] >= 2
    assert parsed(charts.waterfall([], [], "node-a")).get("aria-label") == "Attempts. "


def test_a_splice_is_a_line_at_its_moment_with_its_words() -> None:
    svg = charts.waterfall(SPLICED, [], "node-b", [SPLICE])

    (line,) = parsed(svg).iterfind("line[@class='splice']")
    second = rects(svg, "wait")[1]
    assert float(line.get("x1", "0")) == pytest.approx(second["x"], abs=1)
    assert "spliced after 42 chunks" in svg
    assert "vllm on node-c went on from there." in (parsed(svg).get("aria-label") or "")


@pytest.mark.parametrize("splice", [{}, {"at_ms": 1e9}, {"at_ms": None, "after_chunks": 3}])
def test_a_splice_out_of_place_stays_in_the_picture(splice: dict[str, float]) -> None:
    svg = charts.waterfall(SPLICED, [], "node-b", [splice])

    (line,) = parsed(svg).iterfind("line[@class='splice']")
    assert charts.FALL_LABEL <= float(line.get("x1", "0")) <= charts.FALL_WIDTH - charts.FALL_NOTE


def test_a_day_is_drawn_by_height_and_not_by_colour_alone() -> None:
    slots = [Level.UNKNOWN, Level.CALM, Level.CALM, Level.DOUBT, Level.DOWN, Level.DOWN]

    svg = charts.day_strip(slots, "opened once")

    bars = [(kind, rects(svg, kind)[0]) for kind in ("unknown", "calm", "doubt", "down")]
    assert [(bar["x"], bar["width"]) for _, bar in bars] == [(0, 4), (4, 8), (12, 4), (16, 8)]
    heights = [bar["height"] for _, bar in bars]
    assert heights == sorted(set(heights))
    assert {bar["y"] + bar["height"] for _, bar in bars} == {charts.STRIP_HEIGHT}
    assert parsed(svg).get("aria-label") == "The last 24 hours: opened once"


@pytest.mark.parametrize(
    "svg",
    [
        charts.sparkline((1.0, 2.0), (0, 1)),
        charts.waterfall(FAILED_OVER, CANDIDATES, "node-b"),
        charts.day_strip([Level.DOWN], '"><script>'),
        charts.waterfall(SPLICED, [], "node-b", [{"after_chunks": "<script>"}]),
        charts.waterfall([{"n": 1, "provider": "<script>", "code": '"'}], [], "node-a"),
    ],
)
def test_charts_have_no_style_no_script_and_escape_what_they_print(svg: str) -> None:
    assert parsed(svg) is not None
    assert not re.search(r"style=|<script|on\w+=", svg)
