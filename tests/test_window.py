"""The rolling window of an entry."""

from hypothesis import given
from hypothesis import strategies as st

from meshcore.window import SIZE, Window


def test_an_empty_window_knows_no_speed_and_no_failure() -> None:
    window = Window()

    assert window.p50_ms is None
    assert window.p99_ms() is None
    assert window.success_rate == 1.0


def test_failures_lower_the_rate_and_not_the_median() -> None:
    window = Window()

    window.succeeded(100.0)
    window.failed()

    assert window.success_rate == 0.5
    assert window.p50_ms == 100.0


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=100))
def test_only_the_last_results_count(results: list[float | None]) -> None:
    window = Window()

    for result in results:
        if result is None:
            window.failed()
        else:
            window.succeeded(result)

    last = results[-SIZE:]
    good = sorted(result for result in last if result is not None)
    assert window.p50_ms == (good[len(good) // 2] if good else None)
    assert window.success_rate == (len(good) / len(last) if last else 1.0)
