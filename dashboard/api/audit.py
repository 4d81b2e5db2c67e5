"""`/api/v1/audit`: who did what, and whether that is still what was written."""

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.base import View
from dashboard.api.operation import Filter, operation, page_of
from dashboard.models import Action, AuditEntry
from dashboard.selectors import keyset
from dashboard.selectors.audit import AuditFilter
from dashboard.services import audit
from dashboard.services.audit import Fault
from dashboard.services.rights import Right

FILTERS = (
    Filter(name="actor", says="Who acted: the name of a user, token or node, or system."),
    Filter(name="action", says="What was done.", choices=tuple(action.value for action in Action)),
    Filter(name="target", says="To what: node:node-a, token:k3v9x2qa, user:alice; a bare name is a node."),
)


class AuditSerializer(serializers.ModelSerializer[AuditEntry]):
    """An entry with the text that was hashed, so that anybody can verify the chain."""

    before = serializers.DictField(allow_null=True)
    after = serializers.DictField(allow_null=True)

    class Meta:
        model = AuditEntry
        exclude: list[str] = []


class HeadSerializer(serializers.Serializer[object]):
    """The newest entry: keep it elsewhere, and later see that nothing before it was changed or cut off."""

    n = serializers.IntegerField()
    hash = serializers.CharField()


class VerdictSerializer(serializers.Serializer[object]):
    """What verification found; `n` is the first entry at fault, null when it is about none in particular."""

    ok = serializers.BooleanField()
    entries = serializers.IntegerField()
    head = HeadSerializer()
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
        wanted = AuditFilter(actor=query["actor"], action=query["action"], target=query["target"])
        served, rest = wanted.split()
        entries = AuditEntry.objects.filter(served)
        page = keyset.page(entries, cursor=query.cursor, rest=rest, rows=query.limit)
        return Response(query.keyset_page(page, AuditSerializer))


class Verify(View):
    """Whether the trail is what was written."""

    @operation("audit_verify", answers={200: VerdictSerializer}, right=Right.AUDIT_READ)
    def get(self, request: Request) -> Response:
        """Walk the whole chain and name the first entry that isn't what was written."""
        self.query(request)
        return Response(VerdictSerializer(audit.verify()).data)
