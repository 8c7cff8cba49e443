"""Run one command under guard: it ends when its time is up or its parent is gone, and so does
all that it has started.

    python lib/run/guard.py --limit 3600 --done STAMP --log LOG --label TEXT -- COMMAND ...

A kernel killed with papermill, or papermill with the engine, must not go on training unseen.
So the guard looks twice a second whether its own parent is still the one that started it,
whether the time is up, and whether it was asked to stop; then it ends the command with every
descendant. Should the guard itself be killed, Linux kills the command (a parent-death signal),
and a kernel ends by itself when papermill is gone.

Who waits is told when a run begins and ends, and between, after half a minute, one, two and so on,
how many cells of its notebook are done.

A Jupyter client chooses ports for its kernel a moment before the kernel takes them, and
another kernel may be quicker. Such a start has done nothing yet, so it is tried again.

On success the stamp is written last, aside and renamed: seconds, and the records that the
command made or read (`lib.run.experiment.run` notes them in the file that EXPERIMENT_LEDGER
names). Otherwise STAMP.failed says why, and the exit status is the command's, 124 where time
was up, 143 where the parent was gone. This file is run by its path and imports nothing of ours.
"""

import argparse
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

LEDGER = "EXPERIMENT_LEDGER"  # the environment variable that names where records are noted
OUT_OF_TIME = 124
ABANDONED = 143
GRACE = 5.0  # seconds between asking and killing
FIRST_WORD = 30.0  # seconds after which it is said how far a run is; then after twice as many
STARTS = 3  # of a command whose kernel found its port taken
PORT_TAKEN = ("Address already in use", "Kernel died before replying to kernel_info")


def command(
    guarded: list[str], *, parent: int, limit: float, done: Path, log: Path, label: str
) -> list[str]:
    """The command line that runs another one under guard."""
    options = {"parent": parent, "limit": limit, "done": done, "log": log, "label": label}
    words = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, __file__, *words, "--", *guarded]


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    began = time.monotonic()
    print(f"{options.label}: begun", flush=True)
    try:
        status, reason = attempt(options, began)
    except OSError as error:  # a full disk, a folder that cannot be written
        status, reason = 1, f"{error}"
    seconds = time.monotonic() - began
    if status == 0:
        said = f"done in {seconds:.0f} s"
    else:
        said = f"FAILED after {seconds:.0f} s: {reason}. See {options.log}"
    print(f"{options.label}: {said}", flush=True)
    return status


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="guard", description="Run a command under guard.")
    parser.add_argument("--limit", type=float, required=True, help="seconds")
    parser.add_argument("--done", type=Path, required=True, help="the stamp of a success")
    parser.add_argument("--log", type=Path, required=True, help="where the output goes")
    parser.add_argument("--label", required=True, help="how the run is called in messages")
    parser.add_argument("--executed", type=Path, help="the notebook that papermill writes")
    parser.add_argument(
        "--parent", type=int, default=os.getppid(), help="without which it must not run on"
    )
    parser.add_argument("command", nargs="+")
    return parser.parse_args(arguments)


def attempt(options: argparse.Namespace, began: float) -> tuple[int, str]:
    """Run the command and leave a stamp of how it went; gives exit status and reason."""
    done = options.done
    failed = done.with_name(f"{done.name}.failed")
    ledger = done.with_name(f"{done.name}.{os.getpid()}.ledger")
    for file in (done, options.log):
        file.parent.mkdir(parents=True, exist_ok=True)
    for old in (done, failed):
        old.unlink(missing_ok=True)
    try:
        status, reason = started(options, ledger, began + options.limit)
        about = {"label": options.label, "seconds": round(time.monotonic() - began, 1)}
        if status == 0:
            replace(done, about | {"records": noted(ledger)})
        else:
            replace(failed, about | {"status": status, "reason": reason})
    finally:
        with contextlib.suppress(OSError):
            ledger.unlink(missing_ok=True)
    return status, reason


def started(options: argparse.Namespace, ledger: Path, deadline: float) -> tuple[int, str]:
    """Run the command, again where its kernel's port was taken."""
    for _ in range(STARTS):
        status, reason = run(options, ledger, deadline)
        if status != 1 or not port_was_taken(options.log):
            break
    return status, reason


def run(options: argparse.Namespace, ledger: Path, deadline: float) -> tuple[int, str]:
    """Exit status of the command, and the reason where it is not 0.

    deadline   in seconds of time.monotonic
    """
    adopt()
    environment = os.environ | {LEDGER: str(ledger.resolve())}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, asked_to_stop)
    with options.log.open("wb") as log:
        process = subprocess.Popen(
            options.command,
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            preexec_fn=tied,
        )
        try:
            stopped = wait(process, options, deadline)
        except KeyboardInterrupt:
            stopped = ABANDONED, "it was asked to stop"
        finally:
            end(process)
    return stopped or outcome(process.returncode, options.log)


def wait(
    process: subprocess.Popen, options: argparse.Namespace, deadline: float
) -> tuple[int, str] | None:
    """Until the command has ended by itself (None), or why it must not go on."""
    began, said = time.monotonic(), FIRST_WORD
    while process.poll() is None:
        if time.monotonic() - began > said:
            print(f"{options.label}: {said:.0f} s{cells_done(options.executed)}", flush=True)
            said *= 2
        if os.getppid() != options.parent:
            return ABANDONED, "the engine that started it is gone"
        if time.monotonic() > deadline:
            return OUT_OF_TIME, f"it ran longer than its limit of {options.limit:.0f} s"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
    return None


def cells_done(executed: Path | None) -> str:
    """How many cells of a notebook are done, in words; empty where that cannot be told."""
    try:
        cells = json.loads(executed.read_text())["cells"]
        own = [cell["metadata"].get("papermill", {}) for cell in cells if is_code(cell)]
    except (AttributeError, KeyError, OSError, TypeError, ValueError):  # none, or half written
        return ""
    done = sum(one.get("status") == "completed" for one in own)
    return f", {done} of {len(own)} cells"


def is_code(cell: dict) -> bool:
    return cell["cell_type"] == "code"


def outcome(returncode: int, log: Path) -> tuple[int, str]:
    """Exit status and reason of a command that has ended by itself."""
    if returncode >= 0:
        return returncode, last_line(log)
    name = signal.Signals(-returncode).name
    why = ", often because memory ran out" if name == "SIGKILL" else ""
    return 128 - returncode, f"it was killed by {name}{why}"


def port_was_taken(log: Path) -> bool:
    """Whether the command's kernel never started because another had taken its port."""
    said = log.read_text(errors="replace")
    return all(sign in said for sign in PORT_TAKEN)


def tied() -> None:
    """Let this process die with the one that started it (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def adopt() -> None:
    """Become the parent of descendants whose own parents die, so that none is lost (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def asked_to_stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def end(process: subprocess.Popen) -> None:
    """Stop what still runs: the command and every descendant, asked first, killed after a grace."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    family = psutil.Process().children(recursive=True)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    for member in psutil.wait_procs(family, timeout=GRACE)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def noted(ledger: Path) -> list[str]:
    """The records that the command noted, each once."""
    return sorted(set(ledger.read_text().splitlines())) if ledger.exists() else []


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-50:]
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:300] if said else "it said nothing"


def replace(file: Path, content: dict) -> None:
    """Write aside, then rename."""
    aside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(json.dumps(content) + "\n")
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
