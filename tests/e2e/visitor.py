"""A person who uses the forms of the pages without a browser: a session, its cookies, its CSRF token."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from http.cookiejar import CookieJar
from typing import NamedTuple
from urllib.parse import urlencode

from tests.e2e.enrolment import password_of

ANSWER_SECONDS = 30.0
CSRF_COOKIE = "meshboard_csrf"


class Shown(NamedTuple):
    """What a page answered; `url` is where redirects led."""

    status: int
    text: str
    url: str


class Visitor:
    """Somebody with cookies of their own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._cookies = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))

    @property
    def csrf_token(self) -> str:
        """What proves that a form is of a page that this visitor was shown; "" before the first page."""
        return next((each.value or "" for each in self._cookies if each.name == CSRF_COOKIE), "")

    def sign_in(self, person: str) -> "Visitor":
        """Sign in by the form."""
        self.get("/login/")
        shown = self.post("/login/", {"username": person, "password": password_of(person)})
        assert (shown.status, shown.url) == (200, f"{self._url}/"), shown
        return self

    def get(self, path: str) -> Shown:
        """Look at a page."""
        return self._ask(urllib.request.Request(self._url + path))

    def post(self, path: str, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None) -> Shown:
        """Send a form with the visitor's CSRF token, unless the form has another."""
        sent = {"csrfmiddlewaretoken": self.csrf_token} | dict(form)
        request = urllib.request.Request(
            self._url + path, data=urlencode(sent).encode(), headers=dict(headers or {})
        )
        return self._ask(request)

    def act(self, path: str, form: Mapping[str, str]) -> Shown:
        """Send a form as a page that is open does, which swaps the answer in: no redirect."""
        return self.post(path, form, headers={"HX-Request": "true"})

    def _ask(self, request: urllib.request.Request) -> Shown:
        try:
            with self._opener.open(request, timeout=ANSWER_SECONDS) as answer:
                return Shown(answer.status, answer.read().decode(), answer.geturl())
        except urllib.error.HTTPError as exc:
            with exc:
                return Shown(exc.code, exc.read().decode(), exc.url or "")
