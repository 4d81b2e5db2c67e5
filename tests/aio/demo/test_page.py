"""The page as text: no script, no style, nothing unescaped."""

import re
from html.parser import HTMLParser

from meshcore.aio.demo.mesh import DemoMesh
from meshcore.aio.demo.page import counts_line, document, recent_rows, state_cell
from meshcore.aio.demo.switches import ProviderFault
from meshcore.aio.demo.traffic import Answer, Traffic
from meshcore.testing import START

VOID = {"meta", "link"}


class Outline(HTMLParser):
    """Notes open elements, and what the page's policy would forbid."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.forbidden: list[str] = []
        self.buttons: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "style" or "style" in names or any(name.startswith("on") for name in names):
            self.forbidden.append(tag)
        if tag == "button" and names.get("aria-pressed") == "true":
            self.buttons.append(str(names["value"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def answer(**changes: object) -> Answer:
    fields: dict[str, object] = {
        "at": START,
        "asked": "node-a",
        "answered_by": "node-a",
        "routed_via": "local",
        "model": "mock-fast",
        "stream": False,
        "status": 200,
        "milliseconds": 41.6,
    }
    return Answer(**(fields | changes))  # type: ignore[arg-type]


def text_of(html: str) -> str:
    return re.sub(r"<[^>]+>", " ", html)


def test_the_page_is_well_formed_and_has_no_inline_script_or_style(mesh: DemoMesh) -> None:
    outline = Outline(document(mesh, Traffic({}), trouble="'x': <expected>"))

    assert outline.open == []
    assert outline.forbidden == []


def test_the_button_of_the_present_setting_is_pressed(mesh: DemoMesh) -> None:
    mesh.faults["node-b/alpha"] = ProviderFault.HANG

    pressed = Outline(document(mesh, Traffic({}))).buttons

    assert len(pressed) == 6
    assert "node-b/alpha=hang" in pressed
    assert "node-a/alpha=ok" in pressed


def test_trouble_is_shown_escaped(mesh: DemoMesh) -> None:
    assert "&lt;script&gt;" in document(mesh, Traffic({}), trouble="<script>")


def test_a_node_that_was_not_started_is_down(mesh: DemoMesh) -> None:
    assert 'pill bad">down<' in state_cell(mesh, "node-a")


def test_the_ledger_is_one_sentence() -> None:
    traffic = Traffic({})
    traffic.counts.update(calls=5, answered=4, moved_on=1, failed=1)

    assert counts_line(traffic) == (
        "5 calls, 4 answered (1 by another node than the one asked first), 1 failed"
    )


def test_a_call_says_who_answered_it() -> None:
    rows = [
        text_of(recent_rows([answer(**changes)])).split()
        for changes in (
            {},
            {"routed_via": "node-b", "stream": True},
            {"answered_by": "", "routed_via": "", "status": 502},
        )
    ]

    assert rows == [
        ["00:00:00", "node-a", "mock-fast", "node-a", "ok", "42"],
        ["00:00:00", "node-a", "mock-fast,", "streamed", "node-b", "through", "node-a", "ok", "42"],
        ["00:00:00", "node-a", "mock-fast", "–", "failed", "502", "42"],
    ]


def test_the_newest_call_stands_first() -> None:
    rows = recent_rows([answer(model="old"), answer(model="new")])

    assert rows.index("new") < rows.index("old")
