"""What both ends of HTTP share: buffers to read into, and header fields as a parser gives them."""

from collections.abc import Iterator, Mapping

READ_BYTES = 64 << 10  # at most, from a connection at once


def read_buffer() -> memoryview:
    """Return a buffer that all connections of one event loop may be read into: parsers copy what they give.

    Without one asyncio makes room for 256 KiB at each reading, which costs more than most that is done with
    what comes.
    """
    return memoryview(bytearray(READ_BYTES))


Fields = dict[bytes, bytes]
"""Header fields by their names in lower case; of several alike the first."""


class Headers(Mapping[str, str]):
    """Header fields, looked up whatever the case of their names."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower().encode()].decode("latin-1").strip()

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]  # headers are texts
        """Return a field's value."""
        value = self._fields.get(name.lower().encode())
        return default if value is None else value.decode("latin-1").strip()
