"""How many sockets a process may have."""

import resource

import pytest

from dashboard.management import descriptors

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "fit"),
    [
        (1024, 8192, [(4200, 8192)], 4000),
        (1024, INFINITE, [(4200, INFINITE)], 4000),
        (1024, 2048, [(2048, 2048)], 1848),
        (8192, 8192, [], 4000),
        (INFINITE, INFINITE, [], 4000),
    ],
)
def test_the_limit_is_raised_as_far_as_it_goes_and_never_lowered(
    soft: int, hard: int, raised: list[tuple[int, int]], fit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: done.append(limits))

    assert descriptors.allow(4000) == fit
    assert done == raised
