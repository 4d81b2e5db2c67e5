"""What is over goes, and the jobs that see to it."""

from datetime import datetime, timedelta

import pytest
from django.contrib.sessions.models import Session

from dashboard.services.housekeeping import JOBS, clear_sessions

pytestmark = pytest.mark.django_db


def test_sessions_that_are_over_are_deleted_and_others_stay(now: datetime) -> None:
    for key, hours in (("old", -1), ("new", 1)):
        Session.objects.create(session_key=key, session_data="", expire_date=now + timedelta(hours=hours))

    assert clear_sessions(now=now) == 1

    assert [session.session_key for session in Session.objects.all()] == ["new"]


def test_each_job_takes_the_time_and_finds_nothing_to_do_on_a_fresh_database(now: datetime) -> None:
    assert [job.function(now=now) for job in JOBS] == [0] * len(JOBS)
