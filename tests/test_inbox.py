"""Which copy of an inbound event is let in."""

from meshcore.inbox import Admission, Inbox


def test_of_two_copies_at_once_one_is_let_in() -> None:
    inbox = Inbox()

    assert inbox.admit("b1") is Admission.RUN
    assert inbox.admit("b1") is Admission.WAIT
    assert inbox.admit("b2") is Admission.RUN


def test_a_copy_of_what_was_retained_is_dropped_and_acknowledged() -> None:
    inbox = Inbox()
    inbox.admit("b1")

    inbox.retained("b1")

    assert inbox.admit("b1") is Admission.ACKNOWLEDGE


def test_what_was_cancelled_before_it_was_retained_may_come_again() -> None:
    inbox = Inbox()
    inbox.admit("b1")

    inbox.abandoned("b1")

    assert inbox.admit("b1") is Admission.RUN


def test_only_so_many_are_remembered_and_the_oldest_is_forgotten_first() -> None:
    inbox = Inbox(remembered=2)
    for buffer_id in ("b1", "b2", "b3"):
        inbox.admit(buffer_id)
        inbox.retained(buffer_id)

    assert inbox.admit("b2") is Admission.ACKNOWLEDGE
    assert inbox.admit("b1") is Admission.RUN
