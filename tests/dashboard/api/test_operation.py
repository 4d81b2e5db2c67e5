"""What a method says of itself is what is checked and documented."""

import pytest
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.base import View
from dashboard.api.body import TEXT, Key, Shape
from dashboard.api.operation import Filter, of, operation
from dashboard.services.rights import Right

BODY = Shape(keys={"a": Key(TEXT, "A.")}, example={"a": "x"})


class Things(View):
    """An example."""

    @operation("things_list", answers={200: None}, cursor=(int,))
    def get(self, request: Request) -> Response:
        """Return a page of things."""
        return Response()

    @operation("thing_put", answers={202: None}, right=Right.ADMIN, bodies=(BODY,), conditional=True)
    def put(self, request: Request, name: str) -> Response:
        """Put a thing."""
        return Response()


def test_a_method_carries_what_it_is() -> None:
    listed, put = of(Things.get), of(Things.put)

    assert listed is not None
    assert put is not None
    assert (listed.name, listed.right, listed.cursor, listed.conditional) == (
        "things_list",
        Right.READ,
        (int,),
        False,
    )
    assert (put.right, put.bodies, put.conditional) == (Right.ADMIN, (BODY,), True)


@pytest.mark.parametrize("method", [None, len, View.actor])
def test_anything_else_is_no_operation(method: object) -> None:
    assert of(method) is None


def test_a_parameter_with_choices_documents_them_and_another_its_bounds() -> None:
    chosen = Filter(name="state", says="How.", choices=("on", "off")).documented()
    text = Filter(name="node", says="Which.", at_most=63).documented()
    blank = Filter(name="reason", says="Why.", may_be_empty=True).documented()

    assert chosen.enum == ["on", "off"]
    assert (text.type["maxLength"], text.type["minLength"]) == (63, 1)  # type: ignore[index]
    assert "minLength" not in blank.type  # type: ignore[operator]
