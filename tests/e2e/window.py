"""A browser window of somebody who is signed in; what its pages complain of fails the test."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, StorageState, WebError, expect, sync_playwright

from tests.e2e.enrolment import password_of

CHROMIUM = os.environ.get("MESH_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 60_000  # for whatever is waited for: generous, because the machine may be busy
ASKED_FOR = (  # what the browser says of its own accord when a test refuses, kills or blocks something
    "Failed to load resource",
    "Response Status Error Code 403",
    "WebSocket connection to",
    "htmx:sendError",  # the list's own request
    "htmx:afterRequest",
)

# Notes what some places of the page say, each time that changes. A reload forgets it: so it also shows that
# there was none.
WATCH = r"""(places) => {
  const said = (selector) => (document.querySelector(selector)?.innerText ?? "").replace(/\s+/g, " ").trim();
  window.seen = [];
  const note = () => {
    const now = {};
    for (const [name, selector] of Object.entries(places)) now[name] = said(selector);
    const last = window.seen.at(-1);
    if (!last || Object.keys(now).some((name) => now[name] !== last[name]))
      window.seen.push({ ...now, at: Date.now() / 1000 });
  };
  new MutationObserver(note).observe(document.body, { childList: true, subtree: true, characterData: true });
  note();
}"""


expect.set_options(timeout=PATIENCE_MS)


class Window:
    """Pages of one dashboard, with cookies of their own."""

    def __init__(self, browser: Browser, url: str, cookies: StorageState | None = None) -> None:
        self.complaints: list[str] = []
        self.url = url
        self.context = browser.new_context(base_url=url, storage_state=cookies)
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.on("console", self._on_console)
        self.context.on("weberror", self._on_error)

    def sign_in(self, person: str) -> StorageState:
        """Sign in by the form, and return the cookies with which others are signed in, too."""
        page = self.open("/login/")
        page.get_by_label("Name").fill(person)
        page.get_by_label("Password").fill(password_of(person))
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{self.url}/")
        page.close()
        return self.context.storage_state()

    def open(self, path: str) -> Page:
        """Return a page in a tab of its own."""
        page = self.context.new_page()
        page.goto(path)
        return page

    def open_live(self, path: str) -> Page:
        """Return a page that hears of changes."""
        page = self.open(path)
        expect(page.locator("#live-status")).to_contain_text("live")
        return page

    def close(self) -> None:
        """Close it, and fail if a page complained."""
        self.context.close()
        assert not self.complaints, self.complaints

    def _on_console(self, message: ConsoleMessage) -> None:
        bad = message.type in ("error", "warning") or "Content Security Policy" in message.text
        if bad and not message.text.startswith(ASKED_FOR):
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_error(self, error: WebError) -> None:
        self.complaints.append(str(error.error))


def watch(page: Page, places: Mapping[str, str]) -> None:
    """Begin to note what the places (name -> selector) say."""
    page.evaluate(WATCH, places)


def seen(page: Page) -> list[dict[str, Any]]:
    """Return what they said since: name -> words, and `at` in wall clock seconds; fails after a reload."""
    notes: list[dict[str, Any]] | None = page.evaluate("window.seen ?? null")
    assert notes is not None, f"{page.url} was loaded again"
    return notes


def said(page: Page, place: str) -> list[str]:
    """Return the different words of one place, one after the other."""
    words = [note[place] for note in seen(page)]
    return [word for at, word in enumerate(words) if at == 0 or word != words[at - 1]]


def first_at(page: Page, place: str, words: str, *, after: float = 0.0) -> float:
    """Return when a place said `words` for the first time after a moment; wall clock seconds."""
    return next(float(note["at"]) for note in seen(page) if words in note[place] and note["at"] >= after)


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Run a browser.

    Playwright keeps a loop in its thread as long as it runs: it must be over before other modules run one.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
