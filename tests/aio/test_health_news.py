"""What is told of a breaker, and when."""

import pytest

from meshcore.aio.health_news import HealthNews
from meshcore.breaker import Breaker, BreakerPolicy
from meshcore.testing import ManualClock


def test_nothing_is_told_twice(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    news = HealthNews(clock=clock, utcnow=clock.utcnow)
    told: list[bool] = []
    news.health_listeners.append(lambda _, healthy: told.append(healthy))
    breaker = Breaker("ollama", BreakerPolicy(failure_threshold=1), clock=clock)
    breaker.mark_unhealthy("500")

    news.tell(breaker)
    news.tell(breaker)

    assert told == [False]
    assert len(caplog.records) == 1


def test_what_was_forgotten_may_be_told_again() -> None:
    clock = ManualClock()
    news = HealthNews(clock=clock, utcnow=clock.utcnow)
    told: list[bool] = []
    news.health_listeners.append(lambda _, healthy: told.append(healthy))

    for _ in range(2):
        breaker = Breaker("ollama", BreakerPolicy(failure_threshold=1), clock=clock)
        breaker.mark_unhealthy("500")
        news.tell(breaker)
        news.forget("ollama")

    assert told == [False, False]
