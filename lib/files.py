"""Files that are whole or absent: written aside, then renamed."""

import os
from collections.abc import Callable
from pathlib import Path


def replace_file(file: Path, write_to: Callable[[Path], object]) -> None:
    """Call `write_to` with a name aside and rename, so that `file` is the old one, the new one or absent, never half."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        write_to(aside)
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)
