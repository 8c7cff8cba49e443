"""Where things lie, and files that are whole or absent.

papermill runs a notebook in the caller's folder, nbval in the notebook's own, JupyterLab
wherever it was started. So a relative path given as a parameter means "relative to the
repository", and every path comes from here. What is written is written aside, then
renamed; what only one process may do at a time is done under a lock that the system
releases when its holder dies, however it dies.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
REPORTS = ROOT / "reports"
WEIGHTS = ROOT / "lib" / "weights"  # trained models that come with the code, by name


def resolve(path: str | Path) -> Path:
    """An absolute path: relative ones are taken from the repository, `~` is the home folder."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else ROOT / path


def replace_file(file: Path, write_to: Callable[[Path], object]) -> None:
    """Call `write_to` with a name aside and rename.

    So `file` is the old one, the new one or absent, never half of one.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        write_to(aside)
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """A text file, whole or absent."""
    replace_file(file, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_json(file: Path, content: Any) -> None:
    """JSON data as a file, whole or absent."""
    write_text(file, json.dumps(content, indent=1) + "\n")


def sha256(file: Path) -> str:
    """Of a file's bytes, as hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def only_one(place: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of `place`, waiting until it is free; gives whether it is held.

    With `wait=False` it gives False at once where another process holds it. Where the file
    system has no locks, nothing is locked: what is done then may be done twice.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.with_name(f"{place.name}.lock"))
    try:
        held = taken(lock, wait)
    except NotImplementedError:  # no locks here
        held = True
    try:
        yield held
    finally:
        lock.release()


def taken(lock: FileLock, wait: bool) -> bool:
    """Whether a lock is held now; where it waits, it says so."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not wait:
            return False
        name = Path(lock.lock_file).name
        print(f"waiting for another process that does the same ({name})", file=sys.stderr)
        lock.acquire()
    return True
