"""Sessions that stay where they were served."""

from meshcore.capability import CapabilityDescriptor
from meshcore.registry import Entry
from meshcore.routing import Ranked, rank
from meshcore.sticky import Session, Sessions
from meshcore.testing import ManualClock

SESSION = Session("llm.chat", "m", "s1")


def ranked(node_id: str, model: str = "m", *, available: bool = True) -> Ranked:
    entry = Entry(node_id, CapabilityDescriptor(name="llm.chat", provider="p"))
    entry.available = available
    return rank(entry, model)


def test_a_session_without_a_seat_goes_where_routing_sends_it() -> None:
    assert Sessions(clock=ManualClock()).seat_of(SESSION, [ranked("a")]) is None


def test_a_session_stays_where_it_was_served_last() -> None:
    sessions, a, b = Sessions(clock=ManualClock()), ranked("a"), ranked("b")
    sessions.bind(SESSION, a.entry.key, "m")
    sessions.bind(SESSION, b.entry.key, "m")

    assert sessions.seat_of(SESSION, [a, b]) is b
    assert len(sessions) == 1


def test_a_seat_is_known_by_its_key_so_a_peer_that_comes_back_is_the_same() -> None:
    sessions = Sessions(clock=ManualClock())
    sessions.bind(SESSION, ranked("a").entry.key, "m")
    again = ranked("a")

    assert sessions.seat_of(SESSION, [ranked("b"), again]) is again


def test_a_seat_that_is_no_candidate_or_says_that_it_can_not_serve_is_left() -> None:
    sessions = Sessions(clock=ManualClock())
    sessions.bind(SESSION, ranked("a").entry.key, "m")

    assert sessions.seat_of(SESSION, [ranked("b")]) is None
    assert sessions.seat_of(SESSION, [ranked("a", "other")]) is None
    assert sessions.seat_of(SESSION, [ranked("b"), ranked("a", available=False)]) is None


def test_other_sessions_capabilities_and_models_have_seats_of_their_own() -> None:
    sessions, a = Sessions(clock=ManualClock()), ranked("a")
    sessions.bind(SESSION, a.entry.key, "m")

    assert sessions.seat_of(SESSION._replace(session_id="s2"), [a]) is None
    assert sessions.seat_of(SESSION._replace(capability="llm.embedding"), [a]) is None
    assert sessions.seat_of(SESSION._replace(model="m2"), [a]) is None


def test_ten_idle_minutes_end_a_session_and_each_call_starts_them_anew() -> None:
    clock = ManualClock()
    sessions, a = Sessions(clock=clock), ranked("a")
    sessions.bind(SESSION, a.entry.key, "m")
    clock.advance(599.0)
    sessions.bind(SESSION, a.entry.key, "m")

    clock.advance(599.0)
    in_time = sessions.seat_of(SESSION, [a])
    clock.advance(1.0)

    assert in_time is a
    assert sessions.seat_of(SESSION, [a]) is None


def test_idle_sessions_are_removed_by_the_next_that_binds() -> None:
    clock = ManualClock()
    sessions, a = Sessions(clock=clock), ranked("a")
    for number in range(5):
        sessions.bind(SESSION._replace(session_id=str(number)), a.entry.key, "m")
    clock.advance(600.0)

    sessions.bind(SESSION, a.entry.key, "m")

    assert len(sessions) == 1


def test_at_the_bound_the_session_that_was_idle_longest_goes() -> None:
    sessions, a = Sessions(clock=ManualClock(), sessions_max=2), ranked("a")
    first, second, third = (SESSION._replace(session_id=name) for name in ("1", "2", "3"))
    for session in (first, second, first, third):
        sessions.bind(session, a.entry.key, "m")

    assert [sessions.seat_of(session, [a]) for session in (first, second, third)] == [a, None, a]
