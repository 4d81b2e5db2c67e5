"""Who asks for a change: the text copies that audit entries, drains and pages keep of them."""

from dataclasses import dataclass

from django.contrib.auth.models import AbstractBaseUser

from dashboard.models import ActorKind, Node, Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts, from where, in which request; `id` and `token_prefix` find them again while they exist."""

    kind: ActorKind
    name: str
    id: str = ""
    token_prefix: str = ""
    address: str = ""
    request_id: str = ""


SYSTEM = Actor(kind=ActorKind.SYSTEM, name="system")
"""The dashboard itself: expiry, restarts, restored generations."""


def of_user(user: AbstractBaseUser, *, address: str = "", request_id: str = "") -> Actor:
    """Return a person as actor."""
    return Actor(
        kind=ActorKind.USER, name=user.get_username(), id=str(user.pk), address=address, request_id=request_id
    )


def of_token(token: Token, *, address: str = "", request_id: str = "") -> Actor:
    """Return the holder of a token as actor."""
    return Actor(
        kind=ActorKind.TOKEN,
        name=token.name,
        id=str(token.pk),
        token_prefix=token.prefix,
        address=address,
        request_id=request_id,
    )


def of_node(node: Node) -> Actor:
    """Return a node as actor: of what it says that it did."""
    return Actor(kind=ActorKind.NODE, name=node.name, id=str(node.pk))


def of_shell(login: str) -> Actor:
    """Return whoever runs a management command, by the name of their account on the machine."""
    return Actor(kind=ActorKind.SYSTEM, name=f"shell:{login}"[:150])
