"""Turns the tables of a configuration file, and the environment over them, into the frozen sections.

Every complaint is made here: file, key, value, what is allowed. A value that may be a secret in the wrong
place is left out of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar, get_type_hints

from meshcore.config_values import Kind, Rejected
from meshcore.errors import ConfigError

ENTRIES_MAX = 1000  # of a list of tables; a mesh has tens
SHOWN_CHARS_MAX = 200  # of a value in a complaint

_Section = TypeVar("_Section")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key of a section: what it may be, and whether it must be given."""

    kind: Kind
    required: bool


def settings_of(section: type[Any]) -> dict[str, Setting]:
    """Return the settings of a section class by key."""
    hints = get_type_hints(section, include_extras=True)
    return {
        each.name: Setting(kind=hints[each.name].__metadata__[0], required=each.default is MISSING)
        for each in fields(section)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads one file; `file` is how complaints call it."""

    file: str
    environ: Mapping[str, str]

    def complaint(self, key: str, value: object, expected: str, *, secret: bool = False) -> ConfigError:
        """Return the error about one value; with `secret` the value isn't repeated."""
        shown = "" if secret else f" = {_shown(value)}"
        return ConfigError(f"{self.file}: {key}{shown}: expected {expected}")

    def section(self, name: str, section: type[_Section], tables: Mapping[str, object]) -> _Section:
        """Return a section of which there is one, `MESH_<SECTION>_<KEY>` over the file."""
        table = self._table(name, tables.get(name, {}))
        overrides = self.overrides(name)
        known = settings_of(section)
        self._refuse_unknown(name, table, known)
        values = {key: self.value(f"{name}.{key}", known[key].kind, value) for key, value in table.items()}
        for key, text in overrides.items():
            values[key] = self._override(name, key, text, known)
        return self._build(name, section, values, known)

    def entries(
        self, name: str, section: type[_Section], tables: Mapping[str, object], *, at_most: int = ENTRIES_MAX
    ) -> tuple[_Section, ...]:
        """Return the `[[name]]` tables in their order; they have no overrides."""
        listed = tables.get(name, [])
        if not isinstance(listed, list) or len(listed) > at_most:
            raise self.complaint(name, listed, f"at most {at_most} [[{name}]] tables")
        return tuple(self._entry(f"{name}[{number}]", section, each) for number, each in enumerate(listed, 1))

    def overrides(self, name: str) -> dict[str, str]:
        """Return what the environment says about a section, by key."""
        prefix = f"MESH_{name.upper()}_"
        return {
            key.removeprefix(prefix).lower(): text
            for key, text in sorted(self.environ.items())
            if key.startswith(prefix)
        }

    def value(self, key: str, kind: Kind, value: object) -> Any:
        """Return the setting that a TOML value means."""
        try:
            return kind.read(value)
        except Rejected as exc:
            raise self.complaint(key, value, kind.allowed, secret=exc.secret) from exc

    def _entry(self, place: str, section: type[_Section], entry: object) -> _Section:
        table, known = self._table(place, entry), settings_of(section)
        self._refuse_unknown(place, table, known)
        values = {key: self.value(f"{place}.{key}", known[key].kind, value) for key, value in table.items()}
        return self._build(place, section, values, known)

    def _table(self, name: str, table: object) -> Mapping[str, object]:
        if not isinstance(table, Mapping):
            raise self.complaint(name, table, f"a table, written [{name}]")
        return table

    def _refuse_unknown(self, place: str, table: Mapping[str, object], known: Mapping[str, Setting]) -> None:
        for key in table:
            if key not in known:  # its value may be a secret that was put under a name of the writer's own
                raise self.complaint(f"{place}.{key}", None, f"one of the keys {_names(known)}", secret=True)

    def _override(self, name: str, key: str, text: str, known: Mapping[str, Setting]) -> Any:
        variable = f"MESH_{name.upper()}_{key.upper()}"
        if key not in known:
            allowed = _names(f"MESH_{name.upper()}_{each.upper()}" for each in known)
            raise ConfigError(f"environment: {variable}: expected one of {allowed}")
        kind = known[key].kind
        try:
            return kind.parse(text)
        except Rejected as exc:
            shown = "" if exc.secret else f"={_shown(text)}"
            raise ConfigError(f"environment: {variable}{shown}: expected {kind.allowed}") from exc

    def _build(
        self, place: str, section: type[_Section], values: dict[str, Any], known: Mapping[str, Setting]
    ) -> _Section:
        for key, setting in known.items():
            if setting.required and key not in values:
                raise ConfigError(f"{self.file}: {place}.{key} is missing: expected {setting.kind.allowed}")
        return section(**values)


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…"
