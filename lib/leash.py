"""Run one command on a leash: it ends when its time is up or its parent is gone, and so does all it has started.

    python lib/leash.py --limit 3600 --done STAMP --log LOG --label TEXT -- COMMAND ...

A kernel killed with papermill, or papermill with the engine, must not go on training
unseen. So the leash looks twice a second whether its own parent is still the one that
started it, whether the time is up, and whether it was asked to stop; then it ends the
command with every descendant. Should the leash itself be killed, Linux kills the
command (a parent-death signal), and a kernel ends by itself when papermill is gone.

A Jupyter client chooses ports for its kernel a moment before the kernel takes them, and
another kernel may be quicker. Such a start has done nothing yet, so it is tried again.

On success the stamp is written last, aside and renamed: seconds, and the records that
the command made or read (`lib.experiment.run` notes them in the file that
EXPERIMENT_LEDGER names). Otherwise STAMP.failed says why, and the exit status is
the command's, 124 where time was up, 143 where the parent was gone.
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
OUT_OF_TIME, ABANDONED = 124, 143
GRACE = 5.0  # seconds between asking and killing
STARTS = 3  # of a command whose kernel found its port taken
PORT_TAKEN = ("Address already in use", "Kernel died before replying to kernel_info")


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    done, failed = Path(options.done), Path(options.done + ".failed")
    ledger = Path(f"{options.done}.{os.getpid()}.ledger")
    began = time.monotonic()
    try:
        for file in (done, Path(options.log)):
            file.parent.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)
        failed.unlink(missing_ok=True)
        deadline = began + options.limit
        status, reason = run(options, ledger, deadline)
        for _ in range(STARTS - 1):
            if status != 1 or not port_was_taken(Path(options.log)):
                break
            status, reason = run(options, ledger, deadline)
        seconds = round(time.monotonic() - began, 1)
        about = {"label": options.label, "seconds": seconds}
        if status == 0:
            replace(done, about | {"records": noted(ledger)})
        else:
            replace(failed, about | {"status": status, "reason": reason})
    except OSError as error:  # a full disk, a folder that cannot be written
        status, reason, seconds = 1, f"{error}", time.monotonic() - began
    finally:
        with contextlib.suppress(OSError):
            ledger.unlink(missing_ok=True)
    said = f"done in {seconds:.0f} s" if status == 0 else f"FAILED after {seconds:.0f} s: {reason}. See {options.log}"
    print(f"{options.label}: {said}", flush=True)
    return status


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="leash", description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=float, required=True, help="seconds")
    parser.add_argument("--done", required=True, help="the stamp to write on success")
    parser.add_argument("--log", required=True, help="where the command's output goes")
    parser.add_argument("--label", required=True, help="how the run is called in messages")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the process without which it must not run on")
    parser.add_argument("--threads", type=int, default=0, help="of the command, 0 = as it likes")
    parser.add_argument("command", nargs="+")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, ledger: Path, deadline: float) -> tuple[int, str]:
    """Exit status of the command, and the reason where it is not 0; `deadline` is in seconds of time.monotonic."""
    adopt()
    environment = os.environ | {LEDGER: str(ledger.resolve())}
    if options.threads:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(options.threads))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, asked_to_stop)
    with Path(options.log).open("wb") as log:
        process = subprocess.Popen(options.command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=tied)
        try:
            while process.poll() is None:
                if os.getppid() != options.parent:
                    return ABANDONED, "the engine that started it is gone"
                if time.monotonic() > deadline:
                    return OUT_OF_TIME, f"it ran longer than its limit of {options.limit:.0f} s"
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
        except KeyboardInterrupt:
            return ABANDONED, "it was asked to stop"
        finally:
            end(process)
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        return 128 - process.returncode, f"it was killed by {name}" + (", often because memory ran out" if name == "SIGKILL" else "")
    return process.returncode, last_line(Path(options.log))


def port_was_taken(log: Path) -> bool:
    """Whether the command's kernel never started because another process had taken its port."""
    said = log.read_text(errors="replace")
    return all(sign in said for sign in PORT_TAKEN)


def tied() -> None:
    """Let this process die with the one that started it (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def adopt() -> None:
    """Become the parent of descendants whose own parents die, so that none is lost sight of (Linux)."""
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
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()[-50:] if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


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
