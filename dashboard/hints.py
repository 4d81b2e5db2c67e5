"""Hints: something was committed, so read the change feed now rather than within a second."""


def wake() -> None:
    """Tell whoever reads the change feed that there is something new; losing this costs at most a second."""
