"""The walk along the chain: each thing that can be wrong has its word and its number."""

from typing import Any

import pytest

from dashboard.services import audit_chain
from dashboard.services.audit_chain import BEGINNING, COLUMNS, Head
from dashboard.services.audit_walk import Fault, Finding, Walk, rotation

Entry = tuple[int, str, str]


def text(n: int, **facts: Any) -> str:
    return audit_chain.canonical({**dict.fromkeys(COLUMNS), "n": n, **facts})


def chain(length: int, start: Head = BEGINNING, **first: Any) -> list[Entry]:
    entries, hash = [], start.hash
    for n in range(start.n + 1, start.n + 1 + length):
        told = text(n, **(first if n == start.n + 1 else {}))
        hash = audit_chain.link(hash, told)
        entries.append((n, told, hash))
    return entries


def walked(
    entries: list[Entry], head: Head | None = None, *, start: Head = BEGINNING, exported: Head | None = None
) -> Finding | None:
    """Walk to the first finding."""
    walk = Walk(start, exported=exported)
    findings = [walk.begin()]
    for n, told, hash in entries:
        findings.append(walk.step(n=n, text=told, hash=hash, difference=lambda facts: ""))
        if findings[-1]:
            return findings[-1]
    return findings[0] or walk.end(head or Head(n=entries[-1][0], hash=entries[-1][2]))


def test_an_untouched_chain_has_no_finding() -> None:
    assert walked(chain(5)) is None
    assert walked([], BEGINNING) is None


@pytest.mark.parametrize(
    ("keep", "fault", "n"),
    [
        ([1, 2, 4], Fault.REMOVED, 3),
        ([2, 3, 4], Fault.REMOVED, 1),
        ([1, 2, 3], Fault.REMOVED, 4),
        ([1, 3, 2, 4], Fault.REMOVED, 2),
        ([1, 1, 2], Fault.INSERTED, 1),
    ],
)
def test_what_is_missing_or_out_of_its_place_is_named(keep: list[int], fault: Fault, n: int) -> None:
    entries = chain(4)

    finding = walked([entries[k - 1] for k in keep], Head(n=4, hash=entries[3][2]))

    assert finding is not None
    assert (finding.fault, finding.n) == (fault, n)


def test_an_entry_under_another_number_was_moved() -> None:
    (_, one, first), (_, two, second) = chain(2)

    assert walked([(1, two, second), (2, one, first)]) == Finding(
        Fault.REORDERED, 1, "it was written as entry 2"
    )


def test_a_column_that_differs_from_the_text_is_named() -> None:
    walk = Walk(BEGINNING)
    [(n, told, hash)] = chain(1)

    finding = walk.step(n=n, text=told, hash=hash, difference=lambda facts: "reason")

    assert finding == Finding(Fault.CHANGED, 1, "reason is not what was written")
    assert walk.head == BEGINNING


@pytest.mark.parametrize("told", ["", "x", "{}", '{"n":1}', text(1) + " ", text(1).replace("null", "NULL")])
def test_a_text_that_is_none_of_an_entry_is_named(told: str) -> None:
    assert walked([(1, told, audit_chain.link(BEGINNING.hash, told))]) == Finding(
        Fault.CHANGED, 1, "canonical is not what was written"
    )


def test_a_chain_behind_a_rotation_begins_with_the_entry_that_says_so() -> None:
    start = Head(n=7, hash="ab" * 32)
    honest = {"action": "audit.rotate", "after": {"head": rotation(start)}}

    assert walked(chain(3, start, **honest), start=start) is None

    for first in (
        {},
        {**honest, "action": "drain"},
        {**honest, "after": {"head": {"n": 7}}},
        {**honest, "after": 7},
    ):
        finding = walked(chain(3, start, **first), start=start)
        assert finding is not None
        assert (finding.fault, finding.n) == (Fault.REMOVED, 7)


def test_an_exported_head_is_compared_where_the_walk_comes_by() -> None:
    entries = chain(3)
    hashes = {n: hash for n, _, hash in entries}

    assert [walked(entries, exported=Head(n=n, hash=hashes[n])) for n in (1, 2, 3)] == [None, None, None]
    for n in (1, 2, 3):
        finding = walked(entries, exported=Head(n=n, hash="f" * 64))
        assert finding == Finding(Fault.CHANGED, n, "its hash is not the exported one")
    beyond = walked(entries, exported=Head(n=5, hash="f" * 64))
    assert beyond == Finding(Fault.REMOVED, 4, "the exported head is 5, the newest entry 3")


def test_the_exported_head_that_a_rotation_began_with_is_compared_too() -> None:
    start = Head(n=7, hash="ab" * 32)
    entries = chain(1, start, action="audit.rotate", after={"head": rotation(start)})

    assert walked(entries, start=start, exported=start) is None
    assert walked(entries, start=start, exported=Head(n=7, hash="f" * 64)) == Finding(
        Fault.CHANGED, 7, "its hash is not the exported one"
    )


def test_a_head_that_says_otherwise_is_found() -> None:
    entries = chain(2)

    assert walked(entries, Head(n=2, hash="f" * 64)) == Finding(
        Fault.CHANGED, 2, "its hash is not the one in the control head"
    )
