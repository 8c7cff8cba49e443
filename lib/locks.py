"""One process at a time: a lock that the system releases when its holder dies, however it dies.

Two sweeps on one checkout, or a sweep and a notebook, may ask for the same run. The
lock is held on a file beside the run's checkpoints (flock), so a killed process never
leaves it locked. Where the file system has no locks, nothing is locked: the run is
then done twice, and both write the same record, each as a whole.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def only_one(place: Path, wait: bool = True) -> Iterator[bool]:
    """Hold `place`.lock, waiting until it is free; with `wait=False` gives False at once where somebody else holds it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("a") as file:
        try:
            yield take(file, wait)
        finally:
            if fcntl is not None:
                with contextlib.suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_UN)


def take(file, wait: bool) -> bool:
    """Whether the lock was taken, or cannot be taken on this file system."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            return False
        print(f"waiting for another process that does this run ({file.name})", file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # no locks here
        return True
    return True
