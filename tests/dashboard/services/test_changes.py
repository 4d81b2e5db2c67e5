"""The change feed: rows in order, a hint after commit, an hour kept."""

from datetime import datetime, timedelta
from unittest.mock import Mock

import pytest
from django.db import transaction

from dashboard import hints
from dashboard.models import Change
from dashboard.services import changes


@pytest.mark.django_db(transaction=True)
def test_the_hint_follows_the_commit(now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(hints, "wake", Mock(side_effect=lambda *_: seen.append(Change.objects.count())))

    with transaction.atomic():
        changes.publish("node:node-a", "nodes", now=now)
        assert seen == []

    assert seen == [2]
    assert list(Change.objects.order_by("id").values_list("key", flat=True)) == ["node:node-a", "nodes"]


@pytest.mark.django_db
def test_rows_are_kept_for_an_hour(now: datetime) -> None:
    changes.publish("old", now=now - timedelta(hours=1, seconds=1))
    changes.publish("new", now=now - timedelta(minutes=59))

    assert changes.trim(now=now) == 1
    assert Change.objects.get().key == "new"


@pytest.mark.django_db
def test_trimming_takes_a_bounded_bite(now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "TRIM_ROWS", 2)
    changes.publish("a", "b", "c", now=now - timedelta(days=1))

    assert [changes.trim(now=now) for _ in range(3)] == [2, 1, 0]
