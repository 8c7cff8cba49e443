"""One of the processes of a data-parallel run: `torchrun ... -m lib.worker JOB.json`.

The job file holds an experiment and an execution as JSON (`write_job` makes it; a
notebook with `processes` above 1 does so and starts torchrun on this machine). The
record is written by process 0, like any other. An error is left beside the job, so that
whoever started the processes can say what went wrong.
"""

import contextlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

from lib import parallel, records
from lib.files import replace_file
from lib.leash import tied
from lib.locks import only_one
from lib.paths import ROOT
from lib.settings import Execution, Experiment

LEASH = ROOT / "lib" / "leash.py"
A_YEAR = 3e7  # seconds: the leash only has to notice that its parent is gone


class WorkerFailed(RuntimeError):
    """A data-parallel run that ended without a record; the message is the worker's own."""


def write_job(experiment: Experiment, execution: Execution) -> Path:
    """The job file of a run, beside its checkpoints; an error that an earlier call left is removed. Raises ValueError for fine-tuning."""
    if experiment.fine_tune:
        raise ValueError("several processes pre-train together, one fine-tunes: leave fine_tune out, then run the fine-tuning by itself")
    file = execution.checkpoints(experiment.key).with_suffix(".job.json")
    job = {"experiment": experiment.model_dump(mode="json"), "execution": execution.model_dump(mode="json")}
    file.with_suffix(".error").unlink(missing_ok=True)
    replace_file(file, lambda aside: aside.write_text(json.dumps(job, indent=1) + "\n"))
    return file


def launch(experiment: Experiment, execution: Execution) -> None:
    """Run an experiment, whose lock the caller holds, in `execution.processes` processes on this machine. Raises WorkerFailed."""
    job = write_job(experiment, execution)
    error, log = job.with_suffix(".error"), job.with_suffix(".log")
    leash = f"--parent {os.getpid()} --limit {A_YEAR} --label {experiment.key}".split()
    leash += ["--done", str(job.with_suffix(".done")), "--log", str(log)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(execution.processes)]
    command = [sys.executable, str(LEASH), *leash, "--", sys.executable, *torchrun, "-m", "lib.worker", "--held", str(job)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        said = error.read_text() if error.exists() else done.stdout
        raise WorkerFailed(f"{execution.processes} processes ended without a record: {said.strip()} (their output: {log})")


def read_job(file: Path) -> tuple[Experiment, Execution]:
    job = json.loads(file.read_text())
    experiment = Experiment.model_validate_json(json.dumps(job["experiment"]))
    return experiment, Execution.model_validate_json(json.dumps(job["execution"]))


def main(file: Path, held: bool = False) -> int:
    """Do the job of a file; `held` says that whoever started this process holds the run's lock. Gives the exit status."""
    from lib.experiment import perform

    if parallel.under_torchrun():
        tied()
    experiment, execution = read_job(file)
    done = records.find(execution.results, experiment.key)
    again = execution.rerun or execution.scale == "quick"
    if held:
        return work(file, lambda: perform(experiment, execution))
    if done and not again:
        print(f"it is done: {done.name}")
        return 0
    if os.environ.get("RANK", "0") != "0":
        return work(file, lambda: perform(experiment, execution))
    with only_one(execution.checkpoints(experiment.key), wait=False) as taken:
        if not taken:
            print("another process does this run: wait for it, or end it first", file=sys.stderr)
            return 1
        return work(file, lambda: perform(experiment, execution))


def work(file: Path, function) -> int:
    """Call a function; the first process that fails leaves its error beside the job."""
    try:
        function()
    except Exception as error:
        traceback.print_exc()
        with contextlib.suppress(FileExistsError), file.with_suffix(".error").open("x") as stream:
            stream.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[-1]), held="--held" in sys.argv[1:-1]))
