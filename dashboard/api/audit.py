"""`/api/v1/audit`: who did what, and whether that is still what was written."""

import re
from http import HTTPStatus

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.base import View
from dashboard.api.operation import Filter, operation, page_of
from dashboard.api.problems import Problem
from dashboard.api.reading import Query, is_key, older_of
from dashboard.models import Action, AuditEntry, Outcome
from dashboard.selectors import audit as selector
from dashboard.selectors.audit import AuditFilter
from dashboard.services import audit
from dashboard.services.audit import Fault, Head
from dashboard.services.rights import Right

DIGEST = re.compile(r"[0-9a-f]{64}")
FILTERS = (
    Filter(name="actor", says="Who acted: the name of a user, token or node, or system."),
    Filter(name="action", says="What was done.", choices=tuple(action.value for action in Action)),
    Filter(name="target", says="To what: node:node-a, token:k3v9x2qa, user:alice; a bare name is a node."),
    Filter(name="outcome", says="What came of it.", choices=tuple(outcome.value for outcome in Outcome)),
    Filter(name="text", says="What stands somewhere in the reason, in upper or lower case."),
    Filter(name="since", says="From this moment on.", moment=True),
    Filter(name="until", says="Before this moment.", moment=True),
)
EXPORTED = (
    Filter(name="n", says="The number of an exported head; with its `hash`."),
    Filter(name="hash", says="The hash of an exported head."),
)


class AuditSerializer(serializers.ModelSerializer[AuditEntry]):
    """An entry with the text that was hashed, so that anybody can verify the chain."""

    before = serializers.DictField(allow_null=True)
    after = serializers.DictField(allow_null=True)

    class Meta:
        model = AuditEntry
        exclude: list[str] = []


class HeadSerializer(serializers.Serializer[object]):
    """An entry by its number and hash, which covers all before it."""

    n = serializers.IntegerField()
    hash = serializers.CharField()


class VerdictSerializer(serializers.Serializer[object]):
    """What verification found; `n` is the first entry at fault, null when it is about none in particular."""

    ok = serializers.BooleanField()
    entries = serializers.IntegerField(help_text="Between `start` and `head`.")
    start = HeadSerializer(help_text="What the last rotation took away.")
    head = HeadSerializer(help_text="The newest entry: keep it elsewhere.")
    fault = serializers.ChoiceField(choices=list(Fault), allow_null=True)
    n = serializers.IntegerField(allow_null=True)
    detail = serializers.CharField(allow_blank=True)


class Audit(View):
    """The audit trail, newest first."""

    @operation(
        "audit_list",
        answers={200: page_of("AuditPage", AuditSerializer)},
        right=Right.AUDIT_READ,
        filters=FILTERS,
        cursor=(int,),
    )
    def get(self, request: Request) -> Response:
        """Return a page of entries."""
        query = self.query(request)
        wanted = AuditFilter(
            actor=query["actor"],
            action=query["action"],
            target=query["target"],
            outcome=query["outcome"],
            text=query["text"],
            since=query.moment("since"),
            until=query.moment("until"),
        )
        found = selector.page(wanted=wanted, cursor=query.cursor, rows=query.limit)
        return Response(query.numbered(found.page.rows, AuditSerializer, older=older_of(found.page)))


class Verify(View):
    """Whether the trail is what was written."""

    @operation("audit_verify", answers={200: VerdictSerializer}, right=Right.AUDIT_READ, filters=EXPORTED)
    def get(self, request: Request) -> Response:
        """Walk the whole chain and name the first entry that isn't what was written.

        With the head of an earlier answer it also shows whether the newest entries were cut off since.
        """
        exported = _exported(self.query(request))
        return Response(VerdictSerializer(audit.verify(exported=exported)).data)


def _exported(query: Query) -> Head | None:
    n, digest = query["n"], query["hash"]
    if not n and not digest:
        return None
    if not is_key(n):
        said = f"n is {n[:80]!r}; expected the number of an exported head, with its hash."
        raise Problem(HTTPStatus.BAD_REQUEST, said, field="n")
    if not DIGEST.fullmatch(digest):
        said = f"hash is {digest[:80]!r}; expected the 64 digits of an exported head's."
        raise Problem(HTTPStatus.BAD_REQUEST, said, field="hash")
    return Head(n=int(n), hash=digest)
