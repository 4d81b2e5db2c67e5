"""What an entry holds comes back from every database just as it went in."""

import json
from datetime import datetime
from typing import Any

import pytest
from django.db.models import JSONField
from hypothesis import given
from hypothesis import strategies as st

from dashboard.models import AuditEntry
from dashboard.services import audit, audit_columns
from dashboard.services.audit_columns import TEXTS
from tests.dashboard.services.trail import write

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
DOCUMENTS = st.recursive(
    SCALARS, lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=20
)


def as_postgresql_tells(value: Any) -> Any:
    """Return JSON as jsonb gives it back: keys in its own order, numbers as decimals without exponents."""
    if isinstance(value, dict):
        return {key: as_postgresql_tells(value[key]) for key in sorted(value, key=lambda k: (len(k), k))}
    if isinstance(value, list):
        return [as_postgresql_tells(each) for each in value]
    if isinstance(value, float):
        plain = format(value, "f") if abs(value) >= 1e16 else repr(value)
        return json.loads(plain)
    return value


@given(DOCUMENTS)
def test_a_document_is_the_same_text_whoever_kept_it(given_document: Any) -> None:
    document = audit_columns.document(given_document)

    told = as_postgresql_tells(document)

    assert json.dumps(told, sort_keys=True) == json.dumps(document, sort_keys=True)
    assert audit_columns.document(document) == document


@given(st.text(st.characters(), max_size=50))
def test_a_text_can_be_written_anywhere(given_text: str) -> None:
    text = audit_columns.text(given_text)

    assert "\x00" not in text
    assert text.encode().decode() == text
    assert len(text) == len(given_text)


def test_numbers_that_are_whole_are_written_whole() -> None:
    assert repr(audit_columns.document({"a": 900.0, "b": -0.0, "c": 1e16, "d": 1.5, "e": (True, 1)})) == (
        "{'a': 900, 'b': 0, 'c': 10000000000000000, 'd': 1.5, 'e': [True, 1]}"
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        audit_columns.document({"a": number})


def test_every_text_and_document_column_is_covered() -> None:
    fields = {field.name: field for field in AuditEntry._meta.fields}
    documents = {name for name, field in fields.items() if isinstance(field, JSONField)}

    assert set(TEXTS) | documents | {"n", "at", "generation", "cause_n", "count", "canonical", "hash"} == set(
        fields
    )
    assert documents == set(audit_columns.DOCUMENTS)
    assert (TEXTS["target"], TEXTS["reason"]) == (200, None)


@pytest.mark.django_db
def test_an_entry_is_cut_and_cleaned_before_it_is_hashed(now: datetime) -> None:
    write(now, target="x" * 300, reason="a\x00b\ud800", after={"\x00": float(1 << 60)})

    entry = AuditEntry.objects.get()

    assert entry.target == "x" * 200
    assert (entry.reason, entry.after) == ("a\ufffdb\ufffd", {"\ufffd": 1 << 60})
    assert audit.verify().ok
