"""`If-Match`: act only while the desired state is still the one that was read (RFC 9110 §13.1.1).

The entity tag of a node's desired state is its generation, so `"7"` is what `GET` told as `ETag`.
"""

import re
from http import HTTPStatus

from rest_framework.request import Request

from dashboard.api.problems import Problem

HEADER = "If-Match"
ANY = "*"
TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
ONE = re.compile(TAG)
LIST = re.compile(rf"[ \t,]*{TAG}(?:[ \t]*,[ \t,]*{TAG})*[ \t,]*")  # a list may have empty places (§5.6.1)
SHOWN_CHARACTERS = 80


def etag(generation: int) -> str:
    """Return the entity tag of a generation."""
    return f'"{generation}"'


def is_conditional(request: Request) -> bool:
    """Return whether the request insists on some generation."""
    return request.headers.get(HEADER, ANY).strip() != ANY


def condition(request: Request, *, current: int) -> int | None:
    """Return the generation that the request insists on, None for any.

    `current` is judged here as far as it was read without a lock, so the service judges the answer again.
    Raises Problem 412 when it is another one, and 400 when the header can't be read.
    """
    if not is_conditional(request):
        return None
    said = request.headers[HEADER]
    if not LIST.fullmatch(said):
        shown = ascii(said[:SHOWN_CHARACTERS])
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"{HEADER} is {shown}; expected * or entity tags as in {etag(current)}.",
            field=HEADER,
        )
    if etag(current) not in ONE.findall(said):  # a weak tag never matches: the comparison is the strong one
        raise mismatch(current)
    return current


def mismatch(current: int) -> Problem:
    """Return the answer to whoever goes by another generation than `current`."""
    return Problem(
        HTTPStatus.PRECONDITION_FAILED,
        f"The desired state is at generation {current} by now; read it again.",
        field=HEADER,
        headers={"ETag": etag(current)},
        more={"current_generation": current},
    )
