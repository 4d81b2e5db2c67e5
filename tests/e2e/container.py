"""A node in a container: `python -m tests.e2e.container PROC …` is `python -m meshcore …` that sees another
`/proc`, in which a test says which boot of which machine this is.
"""

import sys
from pathlib import Path

from meshcore.aio import boot
from meshcore.cli.main import main


def new(proc: Path, *, life: int) -> None:
    """Begin another life of the container whose `/proc` is at `proc`."""
    for name, text in (
        ("sys/kernel/random/boot_id", "3f2a8c1e-of-a-test\n"),
        ("1/stat", f"1 (init) S {' '.join('0' for _ in range(18))} {life} 0\n"),
    ):
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text(text)


if __name__ == "__main__":
    boot.boot_epoch.__defaults__ = (Path(sys.argv[1]),)
    sys.exit(main(sys.argv[2:]))
