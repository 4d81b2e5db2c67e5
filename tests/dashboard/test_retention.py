"""How long history is kept, as the environment says it."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from dashboard import retention
from dashboard.retention import Retention


def test_what_is_not_said_has_its_default() -> None:
    assert retention.parse({"PATH": "/bin"}) == Retention()
    assert retention.parse({"MESH_RETENTION_TRACE_DAYS": "3"}) == Retention(trace_days=3)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("TRACE_DAYS", "0", r"MESH_RETENTION_TRACE_DAYS='0': expected a number from 1 to 3660"),
        ("TRACE_DAYS", "3661", "from 1 to 3660"),
        ("HOUR_DAYS", "1.5", "MESH_RETENTION_HOUR_DAYS='1.5'"),
        ("HOUR_DAYS", "٣", "MESH_RETENTION_HOUR_DAYS"),
        ("HOUR_DAYS", "9" * 5000, "'99999999999999999999': expected"),
        ("TRACES", "9999", "from 10000 to 1000000000"),
        ("OUTBOX_DAYS", "", "MESH_RETENTION_OUTBOX_DAYS=''"),
        ("TRACE_DAY", "1", "MESH_RETENTION_TRACE_DAY: unknown, expected one of MESH_RETENTION_FAILURE_DAYS"),
        ("FAILURE_DAYS", "6", "FAILURE_DAYS=6: expected at least MESH_RETENTION_TRACE_DAYS=7"),
    ],
)
def test_what_is_misspelt_is_named_with_what_is_allowed(name: str, text: str, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        retention.parse({f"MESH_RETENTION_{name}": text})
