"""How faults are made: processes killed, files damaged, disks filled. For test_faults.py and the soak."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import checkout
import psutil

from lib.run import records, states
from lib.run.jobs import write_job
from lib.run.settings import Execution, Experiment
from lib.training import Recipe

SMALL = {
    "dataset": "digits",
    "subset": 400,
    "patch_size": 2,
    "model": "adversarial",
    "evaluate_images": 12,
    "probe_images": 60,
    "options": {"hidden": (32,), "discriminator": (16,), "latent": 2},
    "test_masks": ("random@0.75",),
}


def experiment(epochs: int = 2, **changes) -> Experiment:
    """A training with three optimisers, small but of any length."""
    return Experiment(
        **SMALL | changes,
        recipe=Recipe(epochs=epochs, batch_size=32, evaluations=4, augment="crop_flip"),
    )


def execution(place: Path, **changes) -> Execution:
    """One that saves its state every tenth of a second."""
    return Execution(
        output=str(place), scale="standard", progress=False, threads=1, save_every=0.1, **changes
    )


def worker(asked: Experiment, how: Execution) -> subprocess.Popen:
    """The training in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "lib.run.worker", str(write_job(asked, how))],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def found(record: records.Record) -> str:
    """What a record says, less when and where it was made."""
    plain = json.loads(record.model_dump_json(exclude={"provenance", "sha256"}))
    return json.dumps(plain, sort_keys=True)


def weights(asked: Experiment, how: Execution) -> str:
    """A sum over every bit of the final weights."""
    return states.digest(states.load(how.checkpoints(asked.key) / "model.safetensors")[0])


def damage(file: Path, kind: str, chance: random.Random) -> None:
    """Truncate a file, or flip one bit of one byte, somewhere."""
    content = bytearray(file.read_bytes())
    place = chance.randrange(len(content))
    if kind == "truncated":
        content = content[:place]
    else:
        content[place] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def wait_for(condition: callable, patience: float = 900.0) -> None:
    """Until a condition holds. Raises AssertionError where it does not in time."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[callable]:
    """A file system of its own with so much room; gives a function that makes it large. Needs root."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)], check=True
    )
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


# --- sweeps


def start_sweep(place: Path, name: str = "tiny", *more: str) -> subprocess.Popen:
    """The documented command, in a session of its own so that all of it can be found."""
    log = (place / "sweep.log").open("ab")
    command = [sys.executable, "-m", "engine.sweep", name, *more]
    return subprocess.Popen(
        command, **checkout.start_options(place), stdout=log, stderr=log, start_new_session=True
    )


def kind_of(process: psutil.Process) -> str:
    """engine, guard, papermill, kernel, or other."""
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        for kind, mark in (
            ("kernel", "ipykernel_launcher"),
            ("guard", "guard.py"),
            ("papermill", "papermill"),
            ("engine", "snakemake"),
        ):
            if any(mark in word for word in words[:4]):
                return kind
    return "other"


def members(place: Path) -> list[psutil.Process]:
    """All processes that work in a checkout, found by its path or their surroundings."""
    found, mark = [], str(place)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if (
                process.pid != os.getpid()
                and process.environ().get("PYTHONPATH") == mark
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
    return found


def kill(place: Path, kind: str, chance: random.Random) -> bool:
    """SIGKILL one process of a kind, or everything; whether there was one."""
    there = members(place)
    chosen = (
        there
        if kind == "everything"
        else [process for process in there if kind_of(process) == kind]
    )
    if kind != "everything":
        chosen = chosen and [chance.choice(chosen)]
    for process in chosen:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return bool(chosen)


def seconds_until_alone(place: Path, patience: float = 300.0) -> float:
    """How long until no process works in the checkout any more. Raises AssertionError naming those that stay."""
    began = time.monotonic()
    while left := members(place):
        assert time.monotonic() - began < patience, [process.cmdline() for process in left]
        time.sleep(0.2)
    return time.monotonic() - began
