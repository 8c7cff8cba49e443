"""One of the processes of a data-parallel run: `torchrun ... -m lib.run.worker JOB.json`.

The job file says what to do (see jobs). The record is written by process 0, like any other. An
error is left beside the job, so that whoever started the processes can say what went wrong.
"""

import contextlib
import os
import sys
import traceback
from pathlib import Path

from lib.files import only_one
from lib.run import guard, parallel, records
from lib.run.experiment import perform
from lib.run.jobs import read_job
from lib.run.settings import Execution, Experiment


def main(file: Path, held: bool = False) -> int:
    """Do the job of a file and give the exit status.

    held   whether whoever started this process holds the run's lock
    """
    if parallel.under_torchrun():
        guard.tied()
    experiment, execution = read_job(file)
    if held:
        return work(file, experiment, execution)
    done = records.find(execution.results, experiment.key)
    if done and execution.keeps and not execution.rerun:
        print(f"it is done: {done.name}")
        return 0
    if os.environ.get("RANK", "0") != "0":
        return work(file, experiment, execution)
    with only_one(execution.checkpoints(experiment.key), wait=False) as taken:
        if not taken:
            print("another process does this run: wait for it, or end it first", file=sys.stderr)
            return 1
        return work(file, experiment, execution)


def work(file: Path, experiment: Experiment, execution: Execution) -> int:
    """Do an experiment; the first process that fails leaves its error beside the job."""
    try:
        perform(experiment, execution)
    except Exception as error:
        traceback.print_exc()
        beside = file.with_suffix(".error")
        with contextlib.suppress(FileExistsError), beside.open("x") as stream:
            stream.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[-1]), held="--held" in sys.argv[1:-1]))
