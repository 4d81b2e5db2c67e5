"""A push of live cells holds what can be rendered, and says where something can't."""

from datetime import UTC, datetime

import pytest

from dashboard.sheet import Sheet

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)


def test_cells_stand_in_the_order_in_which_they_were_added_and_are_swapped() -> None:
    sheet = Sheet(NOW)
    sheet.cell("notices", {"notices": ["first"]})
    sheet.cell("notices", {"notices": ["second"]})

    text = sheet.text()

    assert text.index("first") < text.index("second")
    assert text.count(' hx-swap-oob="true"') == 2


def test_a_broken_cell_says_so_beside_the_others_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sheet = Sheet(NOW)
    sheet.cell("no-such-cell", {}, "node-a")
    sheet.cell("no-such-cell", {}, "node-b")
    sheet.cell("notices", {"notices": ["all others"]})

    text = sheet.text()

    assert 'id="c-no-such-cell-node-a"' in text
    assert text.count("can't be shown") == 2
    assert "all others" in text
    assert [record.message for record in caplog.records] == ["2 cells can't be rendered"]


def test_a_push_without_cells_is_empty(caplog: pytest.LogCaptureFixture) -> None:
    assert Sheet(NOW).text() == ""
    assert not caplog.records
