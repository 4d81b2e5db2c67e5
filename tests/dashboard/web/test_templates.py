"""What holds for every template: nothing inline, nothing from elsewhere, only templates that exist."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.template.loader import get_template
from django.test import Client

from tests.dashboard.web import example_mesh
from tests.dashboard.web.conftest import NOW

FOLDER = Path(settings.BASE_DIR) / "templates"
TEMPLATES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.html"))
STATIC = sorted(
    path
    for path in (Path(settings.BASE_DIR) / "static").rglob("*.*")
    if path.suffix in (".css", ".js", ".svg")
)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_has_nothing_inline_and_nothing_from_another_host(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")

    assert get_template(name)
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:|hx-on|hx-vars|hx-vals=.js:", text)
    assert not re.search(r"""(src|href|action)=["'](https?:)?//""", text)
    assert not [tag for tag in re.findall(r"<script[^>]*>", text) if "src=" not in tag]


@pytest.mark.parametrize("path", STATIC, ids=lambda path: path.name)
def test_a_static_file_loads_nothing_from_another_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")

    assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//|eval\(|new Function", text)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nodes/node-a/",
        "/nodes/node-b/?confirm=drain",
        "/providers/",
        "/providers/?override=groq",
        "/traces/",
        "/drains/",
        "/audit/",
    ],
)
def test_a_page_in_use_has_nothing_inline_either(operator: Client, path: str) -> None:
    example_mesh.make(now=NOW)

    response = operator.get(path)

    html = response.content.decode()
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=\"", html)
    assert "default-src 'self'" in response["Content-Security-Policy"]
    assert "unsafe" not in response["Content-Security-Policy"]


@pytest.mark.django_db
def test_every_error_has_a_page_of_its_own_with_clear_words(viewer: Client) -> None:
    missing = viewer.get("/no/such/page")

    assert missing.status_code == 404
    assert "No page has this address." in missing.content.decode()


@pytest.mark.parametrize(
    ("name", "words"), [("400.html", "makes no sense"), ("403.html", "no right"), ("500.html", "on our side")]
)
def test_error_pages_can_be_drawn_without_anything(name: str, words: str) -> None:
    assert words in get_template(name).render({})
