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


@pytest.mark.django_db
def test_what_is_published_together_is_published_once_and_at_the_end(now: datetime) -> None:
    with transaction.atomic(), changes.together(now=now):
        changes.publish("nodes", "node:a", now=now)
        changes.publish("node:b", "nodes", now=now)
        assert not Change.objects.exists()

    assert list(Change.objects.order_by("id").values_list("key", flat=True)) == ["nodes", "node:a", "node:b"]
    changes.publish("audit", now=now)
    assert Change.objects.count() == 4


@pytest.mark.django_db
def test_what_failed_together_publishes_nothing(now: datetime) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic(), changes.together(now=now):
        changes.publish("nodes", now=now)
        raise ZeroDivisionError

    changes.publish("audit", now=now)
    assert [change.key for change in Change.objects.all()] == ["audit"]
