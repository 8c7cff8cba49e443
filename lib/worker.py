"""One of the processes of a data-parallel run: `torchrun ... -m lib.worker JOB.json`.

The job file holds an experiment and an execution as JSON (`write_job` makes it; a
notebook with `processes` above 1 does so and starts torchrun on this machine). The
record is written by process 0, like any other. An error is left beside the job, so that
whoever started the processes can say what went wrong.
"""

import json
import subprocess
import sys
import traceback
from pathlib import Path

from lib.paths import ROOT
from lib.records import replace_file
from lib.settings import Execution, Experiment

LEASH = ROOT / "lib" / "leash.py"
A_YEAR = 3e7  # seconds: the leash only has to notice that its parent is gone


class WorkerFailed(RuntimeError):
    """A data-parallel run that ended without a record; the message is the worker's own."""


def write_job(experiment: Experiment, execution: Execution) -> Path:
    """The job file of a run, beside its checkpoints."""
    file = execution.checkpoints(experiment.key).with_suffix(".job.json")
    job = {"experiment": experiment.model_dump(mode="json"), "execution": execution.model_dump(mode="json")}
    replace_file(file, lambda aside: aside.write_text(json.dumps(job, indent=1) + "\n"))
    return file


def launch(experiment: Experiment, execution: Execution) -> None:
    """Run an experiment in `execution.processes` processes on this machine. Raises WorkerFailed."""
    job = write_job(experiment, execution)
    error, log = job.with_suffix(".error"), job.with_suffix(".log")
    error.unlink(missing_ok=True)
    leash = [sys.executable, str(LEASH), "--limit", str(A_YEAR), "--done", str(job.with_suffix(".done")), "--log", str(log)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(execution.processes)]
    command = [*leash, "--label", experiment.key, "--", *torchrun, "-m", "lib.worker", str(job)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        said = error.read_text() if error.exists() else done.stdout
        raise WorkerFailed(f"{execution.processes} processes ended without a record: {said.strip()} (their output: {log})")


def read_job(file: Path) -> tuple[Experiment, Execution]:
    job = json.loads(file.read_text())
    experiment = Experiment.model_validate_json(json.dumps(job["experiment"]))
    return experiment, Execution.model_validate_json(json.dumps(job["execution"]))


def main(file: Path) -> int:
    from lib.experiment import perform

    try:
        perform(*read_job(file))
    except Exception as error:
        traceback.print_exc()
        file.with_suffix(".error").write_text(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
