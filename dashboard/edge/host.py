"""Pages answer to our own names only: a foreign site can point a name of its own at this address, and the
browser that follows it would take our pages for that site's.

The API may be asked by any name, such as the one a container knows us by: it goes by a token in a header,
which no foreign page can borrow (docs/decisions.md).
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_only_middleware

GetResponse = Callable[[HttpRequest], HttpResponseBase]
API = "/api/v1/"  # and not its docs, which are a page


@sync_only_middleware
def only_our_names(get_response: GetResponse) -> GetResponse:
    """Answer 400 when a page is asked for by a name that isn't in ALLOWED_HOSTS."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(API):
            request.get_host()  # raises DisallowedHost, which Django answers
        return get_response(request)

    return answer
