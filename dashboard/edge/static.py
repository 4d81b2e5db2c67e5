"""Static files, straight from where the apps keep them: a fresh checkout serves them with no step before.

A wrong or missing script would be a page that silently isn't live, so there is nothing to collect and
nothing to forget. Browsers ask again after a minute and mostly get a 304.
"""

from typing import Any
from wsgiref.headers import Headers

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from servestatic import ServeStaticASGI

MAX_AGE_SECONDS = 60


def with_static_files(application: Any) -> Any:
    """Return an ASGI application that serves the static files, and `application` for the rest."""
    server = ServeStaticASGI(
        application, max_age=MAX_AGE_SECONDS, allow_all_origins=False, add_headers_function=_add_headers
    )
    for finder in get_finders():
        for path, storage in finder.list(None):
            url = settings.STATIC_URL + path
            if url not in server.files:  # the first finder that has it wins, as with collectstatic
                server.add_file_to_dictionary(url, storage.path(path), root=storage.location)
    return server


def _add_headers(headers: Headers, path: str, url: str) -> None:
    headers["X-Content-Type-Options"] = "nosniff"
