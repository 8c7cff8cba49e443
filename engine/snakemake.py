"""Snakemake on one folder of work: one engine at a time, and after a kill the same command goes on.

Snakemake's own lock outlives a killed engine and must be removed by hand. Here a folder of
work is held by a lock that the system releases with the last process that holds it, so a
second engine is refused while the first lives, and nothing has to be unlocked when it has
died. What Snakemake says of itself is left out on this machine: each run says when it begins and
ends. Jobs that a killed engine left in a Slurm queue are cancelled before new ones are
submitted: its jobs do not come back to it, and two of one cell would do the work twice.

`python -m engine.snakemake` starts the default target, the report; `engine.sweep` starts sweeps.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NoReturn

from engine.notebooks import all_notebooks, stamp_of
from lib.files import REPORTS, ROOT

ENGINE = ROOT / "engine"
PROFILES = ENGINE / "profiles"
SLURM = "slurm"
LOCAL = "local"
# Lines of Snakemake that tell a reader nothing: its set-up, and failures that a run told itself.
JARGON = (
    "^(Using profile|Assuming unrestricted|Building DAG|Using shell|Select jobs|Execute [0-9]+ jobs"
    "|RuleException|CalledProcessError|Command .*non-zero exit|Exiting because a job"
    "|Complete log|Elapsed time|$)"
)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of a file system that knows none


class Refused(RuntimeError):
    """The engine does not start; the message says why and what to do."""


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def reserved(folder: Path) -> Iterator[IO]:
    """Hold a folder of work; gives the open file that the lock is on.

    Raises Refused where another engine holds it, or where it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "engine.lock").open("a")
    except OSError as error:
        raise Refused(
            f"{folder} cannot be written ({error}): free it, or work in a checkout of your own"
        ) from error
    with file:
        if not taken(file):
            raise Refused(
                f"another run works in {folder}: wait for it, or end it first; what is done stays"
            )
        yield file


def taken(file: IO) -> bool:
    """Whether the lock on an open file is ours now, or cannot be had on this file system.

    A plain flock and no library: it belongs to the open file, so Snakemake, which takes this
    process's place, inherits it with the descriptor and holds it to its end. What a library
    locks is released, or forgotten, when the process becomes another program.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def start(
    folder: Path, profile: str, config: dict[str, str], more: list[str], lock: IO
) -> NoReturn:
    """Become Snakemake in a folder of work.

    profile   a folder of profiles/: where jobs run
    config    what the Snakefile is told
    more      further words for Snakemake, such as --dry-run
    lock      what `reserved` gave

    Raises Refused before anything runs.
    """
    if not (PROFILES / profile / "config.yaml").is_file():
        known = ", ".join(sorted(file.parent.name for file in PROFILES.glob("*/config.yaml")))
        raise Refused(
            f"there is no profile {profile[:200]!r} in engine/profiles/: choose one of {known}"
        )
    if profile == SLURM and not only_looks(more):
        cancel_left(jobs_name(folder))
    words = command(folder, profile, config, more)
    if profile == LOCAL:
        leave_out(JARGON)
    os.set_inheritable(lock.fileno(), True)
    sys.stdout.flush()
    os.execv(words[0], words)


def leave_out(pattern: str) -> None:
    """Let what this process, or what it becomes, says on stderr pass through a filter."""
    words = ["grep", "--line-buffered", "-v", "-E", pattern]
    kept = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=sys.stderr)
    os.dup2(kept.stdin.fileno(), sys.stderr.fileno())


def command(folder: Path, profile: str, config: dict[str, str], more: list[str]) -> list[str]:
    """The words that start Snakemake."""
    words = [sys.executable, "-m", "snakemake"]
    words += ["--snakefile", str(ENGINE / "Snakefile"), "--directory", str(folder)]
    words += ["--profile", str(PROFILES / profile), "--nolock", "--rerun-incomplete"]
    submit = PROFILES / profile / "submit.sh"
    if submit.exists():  # named here: a path in a profile would be taken from the folder of work
        words += ["--cluster-generic-submit-cmd", shlex.quote(str(submit))]
        words += ["--cluster-generic-status-cmd", shlex.quote(str(submit.with_name("status.sh")))]
    if profile == SLURM:
        words += ["--slurm-jobname-prefix", jobs_name(folder)]
    words += more
    if config:
        words += ["--config", *(f"{name}={value}" for name, value in config.items())]
    return words


def only_looks(more: list[str]) -> bool:
    """Whether Snakemake is asked to say what it would do."""
    return bool({"-n", "--dry-run", "--dryrun"} & set(more))


def jobs_name(folder: Path) -> str:
    """How this folder's jobs are called in a queue: its name and a sum of its place."""
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return f"mae_{folder.name}_{place[:8]}"


def cancel_left(name: str) -> None:
    """Cancel jobs of an engine that was killed: nobody waits for them any more."""
    if shutil.which("squeue") is None:
        raise Refused(
            "there is no Slurm here (no squeue): use --profile local, or run this on a login node"
        )
    ask = ["squeue", "--me", "--noheader", "--format", "%A %j"]
    listed = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    jobs = [line.strip().partition(" ") for line in listed.splitlines()]
    left = [number for number, _, job in jobs if job.startswith(f"{name}_")]
    if left:
        print(
            f"cancelling {len(left)} Slurm jobs that a killed run has left; "
            "their trainings go on from their last state"
        )
        subprocess.run(["scancel", "--full", *left], check=True)


def report() -> int:
    """Run the notebooks that are not up to date and write the page."""
    folder = REPORTS / "notebooks"
    todo = [one for one in all_notebooks() if not stamp_of(one).exists()]
    print(f"{len(todo)} of {len(all_notebooks())} notebooks are to be run here.", flush=True)
    try:
        with reserved(folder) as lock:
            start(folder, LOCAL, {"began": f"{time.time():.0f}"}, [], lock)
    except Refused as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(report())
