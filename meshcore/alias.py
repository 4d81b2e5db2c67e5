"""Aliases: `mesh/<name>` stands for a chain of `provider/model`, best first (bus-and-breaker §3).

A table is checked as a whole: it is taken as it is, or refused with what is wrong and nothing changes. The
one that the dashboard wants replaces the one of the node's file; while it wants none, the file's holds.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from meshcore.config_reader import ENTRIES_MAX, Reader
from meshcore.config_values import Text, Texts
from meshcore.errors import ConfigError

PREFIX = "mesh/"
CHAIN_MAX = 100  # entries; a call makes at most 20 attempts
NAME = Text(r"mesh/[a-z0-9][a-z0-9._-]{0,62}", "mesh/NAME with a NAME of 1 to 63 of a-z 0-9 . _ -")
ENTRY = Text(r"[a-z0-9][a-z0-9._-]{0,62}/[^\s,]{1,200}", "PROVIDER/MODEL")
CHAIN = Texts(ENTRY, CHAIN_MAX)

Table = Mapping[str, tuple[str, ...]]
"""Alias -> its chain, checked."""


class Step(NamedTuple):
    """One entry of a chain: a model of a provider, on whatever node."""

    provider: str
    model: str

    @classmethod
    def parse(cls, entry: str) -> Self:
        """Return the step that a checked entry means; models may have slashes in their own names."""
        provider, _, model = entry.partition("/")
        return cls(provider, model)

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


Chain = tuple[Step, ...]


class AliasSource(enum.StrEnum):
    """Where the table in force comes from."""

    FILE = "file"
    DASHBOARD = "dashboard"


def is_alias(name: str) -> bool:
    """Return whether a model's name is in the namespace of aliases, known or not."""
    return name.startswith(PREFIX) and len(name) > len(PREFIX)


def parse_aliases(table: object, *, source: str) -> dict[str, tuple[str, ...]]:
    """Return a table that is right as a whole; ConfigError names source, alias, value and what is allowed."""
    reader = Reader(file=source, environ={})
    if not isinstance(table, Mapping) or len(table) > ENTRIES_MAX:
        raise reader.complaint(
            "aliases", table, f"a table of at most {ENTRIES_MAX} aliases, written [aliases]"
        )
    return {name: _parse_chain(reader, name, chain) for name, chain in table.items()}


def _parse_chain(reader: Reader, name: object, chain: object) -> tuple[str, ...]:
    reader.value(f"the name of aliases.{name!r}", NAME, name)
    entries: tuple[str, ...] = reader.value(f"aliases.{name!r}", CHAIN, chain)
    if not entries:
        raise reader.complaint(f"aliases.{name!r}", chain, "at least one PROVIDER/MODEL")
    if len(set(entries)) < len(entries):
        raise reader.complaint(f"aliases.{name!r}", chain, "each PROVIDER/MODEL once")
    return entries


class AliasBook:
    """The aliases of a node: two tables, of which the dashboard's goes first when there is one.

    `problems` says why the last table of a source was refused, and forgets it when a good one comes.
    """

    def __init__(self, from_file: Table | None = None) -> None:
        self._from_file = _chains(from_file or {})
        self._wanted: dict[str, Chain] | None = None
        self.problems: dict[AliasSource, str] = {}

    @property
    def source(self) -> AliasSource:
        """Whose table is in force."""
        return AliasSource.FILE if self._wanted is None else AliasSource.DASHBOARD

    def chain(self, name: str) -> Chain | None:
        """Return the chain of an alias, or None when nobody knows it."""
        return self._in_force().get(name)

    def chains(self) -> dict[str, Chain]:
        """Return every alias in force with its chain, in order of name."""
        return dict(sorted(self._in_force().items()))

    def load(self, table: Table) -> bool:
        """Take the file's table, which is checked already; return whether it differs from the last one."""
        self.problems.pop(AliasSource.FILE, None)
        before, self._from_file = self._from_file, _chains(table)
        return self._from_file != before

    def want(self, table: Mapping[str, Sequence[str]] | None) -> bool:
        """Take the table that the dashboard wants, None for the file's; return whether it is another one.

        Raises ConfigError, and the table in force stays.
        """
        try:
            wanted = None if table is None else _chains(_checked(table))
        except ConfigError as exc:
            self.problems[AliasSource.DASHBOARD] = str(exc)
            raise
        self.problems.pop(AliasSource.DASHBOARD, None)
        before, self._wanted = self._wanted, wanted
        return wanted != before

    def refuse_file(self, why: str) -> bool:
        """Keep the file's last good table and why the present one is refused; return whether that is news."""
        before = self.problems.get(AliasSource.FILE)
        self.problems[AliasSource.FILE] = why
        return why != before

    def _in_force(self) -> dict[str, Chain]:
        return self._from_file if self._wanted is None else self._wanted


def _checked(table: Mapping[str, Sequence[Any]]) -> Table:
    return parse_aliases(table, source=AliasSource.DASHBOARD)


def _chains(table: Table) -> dict[str, Chain]:
    return {name: tuple(Step.parse(entry) for entry in entries) for name, entries in table.items()}
