"""Accounts of people, as an admin keeps them: who there is, their groups, whether they may sign in.

Whoever is given a password by somebody else chooses an own one before anything else opens.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import transaction

from dashboard.models import Action, ActorKind, OneTimePassword
from dashboard.services import audit, people
from dashboard.services.actor import Actor
from dashboard.services.people import AdminNeeded
from dashboard.services.rights import GroupName
from meshcore.clock import utcnow

PASSWORD_DUE = "password_due"  # noqa: S105 - in a session: its user must choose a password before all else
USERNAME_MAX_CHARACTERS = 150


class InvalidPerson(ValueError):
    """An account can't be like this; the message names the value and what is allowed."""


def add(
    *, username: str, groups: Iterable[GroupName], actor: Actor, now: datetime | None = None
) -> tuple[User, str]:
    """Add a person and return them with their one-time password, which can't be had again.

    Raises InvalidPerson.
    """
    now = now or utcnow()
    with transaction.atomic():
        opened = people.begin(user_id=None)
        user = _new(username)
        user.groups.set(_rows(groups))
        password = _one_time(user, now=now)
        people.finish(opened, user=user, actor=actor, now=now)
    return user, password


def set_groups(
    *, user: User, groups: Iterable[GroupName], actor: Actor, reason: str = "", now: datetime | None = None
) -> None:
    """Put a person into exactly these groups of ours. Raises people.AdminNeeded."""
    with _changing(user, actor=actor, reason=reason, now=now) as found:
        others = found.groups.exclude(name__in=[name.value for name in GroupName])
        found.groups.set([*others, *_rows(groups)])


def deactivate(*, user: User, actor: Actor, reason: str, now: datetime | None = None) -> None:
    """End a person's sessions, and let them in no more. Raises people.AdminNeeded."""
    with _changing(user, actor=actor, reason=reason, now=now) as found:
        found.is_active = False
        found.save(update_fields=["is_active"])


def reactivate(*, user: User, actor: Actor, reason: str = "", now: datetime | None = None) -> None:
    """Let a person in again, with the password they had."""
    with _changing(user, actor=actor, reason=reason, now=now) as found:
        found.is_active = True
        found.save(update_fields=["is_active"])


def new_password(*, user: User, actor: Actor, reason: str = "", now: datetime | None = None) -> str:
    """Return a new one-time password of a person; their sessions end, and so does a lock on their name.

    Raises people.AdminNeeded.
    """
    now = now or utcnow()
    with transaction.atomic():
        head = audit.locked_head()
        user = User.objects.get(pk=user.pk)
        _refuse_beyond(user, actor)
        password = _one_time(user, now=now)
        people.record_user(
            head=head, actor=actor, action=Action.PASSWORD_NEW, user=user, reason=reason, now=now
        )
    return password


@contextmanager
def choosing_password(*, user: User, actor: Actor, now: datetime | None = None) -> Iterator[None]:
    """Audit that a person chooses an own password: the block saves it, and is rolled back if it fails."""
    with transaction.atomic():
        head = audit.locked_head()
        yield
        OneTimePassword.objects.filter(user=user).delete()
        people.record_user(head=head, actor=actor, action=Action.PASSWORD_NEW, user=user, now=now or utcnow())


def has_one_time_password(user: User) -> bool:
    """Return whether somebody else gave this user the password that counts."""
    return OneTimePassword.objects.filter(user=user).exists()


@contextmanager
def _changing(user: User, *, actor: Actor, reason: str, now: datetime | None) -> Iterator[User]:
    """Lock the head, give the user as stored, and audit what the block does to them."""
    with transaction.atomic():
        opened = people.begin(user_id=user.pk)
        found = User.objects.get(pk=user.pk)
        _refuse_beyond(found, actor)
        yield found
        people.finish(opened, user=found, actor=actor, reason=reason, now=now)


def _refuse_beyond(user: User, actor: Actor) -> None:
    """Let only superusers, and who has a shell, change a superuser: else any admin could become one."""
    if not user.is_superuser or actor.kind is not ActorKind.USER:
        return
    if not User.objects.filter(pk=actor.id, is_superuser=True).exists():
        raise AdminNeeded(f"{user.get_username()} is a superuser: only superusers change them.")


def _new(username: str) -> User:
    user = User(username=User.normalize_username(username))
    try:
        User.username_validator(username)
    except ValidationError as exc:
        raise InvalidPerson(
            f"name={username[:80]!r}: expected letters, digits and @ . + - _ only, at least one"
        ) from exc
    if len(username) > USERNAME_MAX_CHARACTERS:
        raise InvalidPerson(f"name of {len(username)} characters: expected at most {USERNAME_MAX_CHARACTERS}")
    if User.objects.filter(username__iexact=user.username).exists():
        raise InvalidPerson(f"name={username!r}: somebody has this name; names of whoever left stay taken")
    user.save()
    return user


def _rows(groups: Iterable[GroupName]) -> list[Group]:
    return [Group.objects.get_or_create(name=name.value)[0] for name in sorted(set(groups))]


def _one_time(user: User, *, now: datetime) -> str:
    password = people.give_password(user)
    OneTimePassword.objects.create(user=user, given_at=now)
    return password
