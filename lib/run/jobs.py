"""A training in several processes of this machine: the job that they share, and their start.

The job file holds an experiment and an execution as JSON. torchrun starts so many workers (see
worker) under guard, so that none outlives whoever asked; the record is written by process 0.
"""

import os
import subprocess
import sys
from pathlib import Path

from lib.config import Config
from lib.files import ROOT, write_text
from lib.run import guard
from lib.run.settings import Execution, Experiment

A_YEAR = 3e7  # seconds: the guard only has to notice that its parent is gone


class Job(Config):
    """What several processes do together."""

    experiment: Experiment
    execution: Execution


class WorkerFailed(RuntimeError):
    """A data-parallel run that ended without a record; the message is the worker's own."""


def write_job(experiment: Experiment, execution: Execution) -> Path:
    """The job file of a run, beside its checkpoints; an earlier call's error is removed.

    Raises ValueError for fine-tuning.
    """
    if experiment.fine_tune:
        raise ValueError(
            "several processes pre-train together, one fine-tunes: "
            "leave fine_tune out, then run the fine-tuning by itself"
        )
    file = execution.checkpoints(experiment.key).with_suffix(".job.json")
    file.with_suffix(".error").unlink(missing_ok=True)
    write_text(file, Job(experiment=experiment, execution=execution).model_dump_json())
    return file


def read_job(file: Path) -> tuple[Experiment, Execution]:
    job = Job.model_validate_json(file.read_text())
    return job.experiment, job.execution


def launch(experiment: Experiment, execution: Execution) -> None:
    """Run an experiment, whose lock the caller holds, in several processes on this machine.

    Raises WorkerFailed.
    """
    job = write_job(experiment, execution)
    log = job.with_suffix(".log")
    torchrun = ["-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", str(execution.processes)]
    command = guard.command(
        [sys.executable, *torchrun, "-m", "lib.run.worker", "--held", str(job)],
        parent=os.getpid(),
        limit=A_YEAR,
        done=job.with_suffix(".done"),
        log=log,
        label=experiment.key,
    )
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        error = job.with_suffix(".error")
        said = error.read_text() if error.exists() else done.stdout
        raise WorkerFailed(
            f"{execution.processes} processes ended without a record: {said.strip()} "
            f"(their output: {log})"
        )
