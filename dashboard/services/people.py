"""People: the first operator, passwords, and what the audit trail keeps of changes to users and groups."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from axes.models import AccessAttempt
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Q

from dashboard.models import Action, ActorKind, ControlHead, OneTimePassword
from dashboard.services import audit, changes
from dashboard.services.actor import Actor
from dashboard.services.rights import GroupName
from meshcore.clock import utcnow

OPERATOR = "operator"
PASSWORD_BYTES = 15  # 20 characters, 120 bits


class AdminNeeded(ValueError):
    """It would take away a right to administer that has to stay, or isn't for this admin; says which."""


def ensure_operator(*, actor: Actor, new_password: bool = False, now: datetime | None = None) -> str | None:
    """See that the user `operator` is there: groups operator and admin, staff, no superuser.

    Returns the password when there is a new one: at the first start, or because `new_password` asks for it.
    None: all is as it was. A new password is the way back in from the shell: it signs out whoever used the
    old one, lifts the lock that wrong ones brought, and gives back what was taken from the operator.
    """
    now = now or utcnow()
    with transaction.atomic():
        head = audit.locked_head()
        user = User.objects.filter(username=OPERATOR).first()
        if user is not None and not new_password:
            return None
        before = facts(user) if user is not None else None
        user = _restored(user or User(username=OPERATOR))
        password = give_password(user)
        if before is None:
            record_user(head=head, actor=actor, action=Action.USER_ADD, user=user, now=now)
        else:
            if before != facts(user):
                record_user(
                    head=head, actor=actor, action=Action.USER_CHANGE, user=user, before=before, now=now
                )
            record_user(head=head, actor=actor, action=Action.PASSWORD_NEW, user=user, now=now)
    return password


def give_password(user: User) -> str:
    """Give a user a random password that counts as their own, save it and return it.

    Wrong ones from before are forgotten, so that a lock ends.
    """
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    user.set_password(password)
    user.save(update_fields=["password"])
    OneTimePassword.objects.filter(user=user).delete()
    AccessAttempt.objects.filter(username=user.get_username()).delete()
    return password


def record_login(*, user: User, actor: Actor, now: datetime | None = None) -> None:
    """Audit that a person signed in."""
    now = now or utcnow()
    with transaction.atomic():
        record_user(head=audit.locked_head(), actor=actor, action=Action.LOGIN, user=user, now=now)


def signed_out(*, now: datetime | None = None) -> None:
    """Say that a person signed out, so that the pages they left open elsewhere end at once."""
    with transaction.atomic():
        changes.publish("people", now=now or utcnow())


def record_user(
    *,
    head: ControlHead,
    actor: Actor,
    action: Action,
    user: User,
    now: datetime,
    before: dict[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Audit what was done to a user, in the caller's transaction; of a password, only that it is new."""
    changing = action in {Action.USER_ADD, Action.USER_CHANGE}
    audit.record(
        head=head,
        actor=actor,
        action=action,
        target=f"user:{user.get_username()}",
        before=before,
        after=facts(user) if changing else None,
        reason=reason,
        now=now,
    )
    changes.publish("audit", *(() if action is Action.LOGIN else ("people",)), now=now)


@dataclass(frozen=True, slots=True)
class Opened:
    """A change of a user that has begun: the head is locked, `before` is None for a new one."""

    head: ControlHead
    before: dict[str, Any] | None


def begin(*, user_id: int | None) -> Opened:
    """Lock the head and note how a user was (None: there is none yet); `finish` in the same transaction."""
    head = audit.locked_head()
    return Opened(head, facts(User.objects.get(pk=user_id)) if user_id is not None else None)


def finish(
    opened: Opened, *, user: User, actor: Actor, reason: str = "", now: datetime | None = None
) -> None:
    """Audit the change that `begin` began. Raises AdminNeeded for one that may not be: roll it back."""
    if opened.before is not None:
        _refuse_to_lose_admins(opened.before, user, actor)
    record_user(
        head=opened.head,
        actor=actor,
        action=Action.USER_ADD if opened.before is None else Action.USER_CHANGE,
        user=user,
        before=opened.before,
        reason=reason,
        now=now or utcnow(),
    )


def facts(user: User) -> dict[str, Any]:
    """Return what of a user matters for safety, as plain JSON."""
    return {
        "username": user.get_username(),
        "is_active": user.is_active,
        "is_staff": user.is_staff,
        "is_superuser": user.is_superuser,
        "groups": sorted(user.groups.values_list("name", flat=True)),
    }


def _refuse_to_lose_admins(before: dict[str, Any], user: User, actor: Actor) -> None:
    if not _administers(before) or _administers(facts(user)):
        return
    if actor.kind is ActorKind.USER and actor.id == str(user.pk):
        raise AdminNeeded("You can't take away your own right to administer: another admin can.")
    admins = Q(is_superuser=True) | Q(groups__name=GroupName.ADMIN.value)
    if not User.objects.filter(admins, is_active=True).exists():
        raise AdminNeeded(f"{user.get_username()} is the last active admin: make another one first.")


def _administers(user: dict[str, Any]) -> bool:
    """Return whether a user of these facts may administer."""
    return user["is_active"] and (user["is_superuser"] or GroupName.ADMIN.value in user["groups"])


def _restored(operator: User) -> User:
    operator.is_staff = operator.is_active = True
    operator.save()
    names = (GroupName.OPERATOR.value, GroupName.ADMIN.value)
    operator.groups.add(*(Group.objects.get_or_create(name=name)[0] for name in names))
    return operator
