"""What stands around every page."""

import pytest
from django.contrib.auth.models import User

from dashboard.models import Change
from dashboard.services.rights import Right
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor
from tests.dashboard.web.conftest import NOW


@pytest.mark.django_db
def test_a_live_page_knows_the_newest_change_that_it_already_shows(alice: User) -> None:
    visitor = Visitor(user=alice, rights=frozenset({Right.READ}))
    newest = Change.objects.create(key="nodes", at=NOW).pk

    live = frame(visitor, section="fleet", now=NOW, live_page="fleet")
    still = frame(visitor, section="traces", now=NOW)

    assert (live["cursor"], still["cursor"]) == (newest, None)
    assert set(live["may"].values()) == {False}
