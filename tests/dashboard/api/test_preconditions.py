"""`If-Match` (RFC 9110 §13.1.1)."""

import pytest
from django.test import RequestFactory
from rest_framework.request import Request

from dashboard.api.preconditions import condition, is_conditional
from dashboard.api.problems import Problem


def request(said: str | None) -> Request:
    """Build a request with that If-Match."""
    headers = {} if said is None else {"If-Match": said}
    return Request(RequestFactory().get("/", headers=headers))


@pytest.mark.parametrize("said", [None, "*", " * "])
def test_any_generation_will_do(said: str | None) -> None:
    assert condition(request(said), current=7) is None
    assert not is_conditional(request(said))


@pytest.mark.parametrize("said", ['"7"', '"1", "7"', '"7" , W/"7"', ',"7",, "x"', '"x,y","7"'])
def test_the_present_generation_is_insisted_on(said: str) -> None:
    assert condition(request(said), current=7) == 7


@pytest.mark.parametrize("said", ['"6"', 'W/"7"', '""', '"07"', '"x"', '"6", "8"'])
def test_another_is_412_and_says_which_it_is_now(said: str) -> None:
    with pytest.raises(Problem) as refused:
        condition(request(said), current=7)

    assert refused.value.status_code == 412
    assert refused.value.headers == {"ETag": '"7"'}
    assert refused.value.more == {"current_generation": 7}


@pytest.mark.parametrize("said", ["", "7", '"7', 'w/"7"', '"7" "8"', '*, "7"', "garbage", '"7";x'])
def test_what_cant_be_read_is_400_and_never_taken_for_any(said: str) -> None:
    with pytest.raises(Problem) as refused:
        condition(request(said), current=7)

    assert (refused.value.status_code, refused.value.field) == (400, "If-Match")
    assert is_conditional(request(said))
