"""Several processes train what one would: same curves, same reading, states that pass between them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import parallel_runs
import pytest
from families import TRAINED

from lib.files import ROOT, only_one
from lib.run import jobs, worker
from lib.run.experiment import run
from lib.run.settings import Execution, Experiment
from lib.run.states import States
from lib.training import Recipe


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What one process and three have made of the same trainings; two only have even shares."""
    out = tmp_path_factory.mktemp("parallel")
    parallel_runs.main(out)
    begin(out / "states")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", "3", parallel_runs.__file__, str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(torchrun, capture_output=True, text=True, timeout=1800, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return tuple(json.loads((out / f"{count}.json").read_text()) for count in (1, 3))


class Killed(Exception):
    pass


def begin(place: Path) -> None:
    """One process trains seven steps, saves, and is killed."""
    kept = States(place, parallel_runs.BEGUN, every=0.0)

    def watch(state) -> None:
        if state.step == 7:
            kept.save(state)
            raise Killed

    with pytest.raises(Killed):
        parallel_runs.training("mae", watch=watch)


def curves(history):
    """The losses of a history, one after another."""
    numbers = ("step", "learning_rate")
    return [value for row in history for name, value in row.items() if name not in numbers]


@pytest.mark.parametrize("name", TRAINED)
def test_processes_do_not_change_the_curve(runs, name):
    """Shares of 16 and of the last 5 images are uneven for three."""
    one, three = runs
    assert three["processes"] == 3 and len(curves(one[name])) >= 12
    assert curves(three[name]) == pytest.approx(curves(one[name]), rel=1e-4)


@pytest.mark.parametrize("name", parallel_runs.TWICE)
def test_parts_of_a_share_do_not_change_the_curve(runs, name):
    one, three = runs
    assert curves(three[f"{name}, accumulated"]) == pytest.approx(curves(one[name]), rel=1e-4)


@pytest.mark.parametrize("strategy", parallel_runs.ASKING)
def test_masks_that_ask_the_model_are_those_of_one_process(runs, strategy):
    one, three = (curves(run[f"{strategy} masks"]) for run in runs)
    assert three == pytest.approx(one, rel=1e-4) and len(one) >= 12


@pytest.mark.parametrize("name", parallel_runs.TWICE)
def test_several_processes_equal_themselves_bit_for_bit(runs, name):
    _, three = runs
    assert three[name] == three[f"{name}, again"]


def test_no_image_is_read_twice_and_none_is_left_out(runs):
    one, three = runs
    assert sorted(three["keep"]) == list(range(53)) == sorted(one["keep"])
    assert len(three["drop"]) == 48 == len(set(three["drop"])), "three whole batches"
    assert set(three["drop"]) == set(one["drop"])


def test_a_state_of_one_process_is_continued_by_several(runs):
    one, three = runs
    assert curves(three["continued"]) == pytest.approx(curves(one["mae"]), rel=1e-4)
    assert three["states"][-1] == 12, "the end of training, written by one process"


SMALL = {
    "dataset": "digits",
    "subset": 60,
    "patch_size": 2,
    "model": "autoencoder",
    "options": {"hidden": (8,), "latent": 3},
    "evaluate_images": 12,
    "probe_images": 60,
    "test_masks": ("random@0.75",),
}


def execution(place, **changes):
    return Execution(output=str(place), scale="standard", progress=False, **changes)


def test_a_notebook_can_ask_for_two_processes(tmp_path):
    """The whole way: a job, torchrun, a record by process 0, weights read back."""
    asked = Experiment(**SMALL, recipe=Recipe(epochs=2, batch_size=16, evaluations=2))
    one, two = (run(asked, execution(tmp_path / str(n), processes=n)) for n in (1, 2))
    assert one.record.key == two.record.key, "how many train is not part of what was run"
    assert two.record.provenance.machine["processes"] == 2
    losses = [[row["validation_loss"] for row in done.record.history] for done in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    name = "random@0.75/psnr_hidden"
    assert two.value(name) == pytest.approx(one.value(name), rel=1e-3)
    again = run(asked, execution(tmp_path / "2", processes=2))
    assert again.record == two.record and again.model is not None


def test_a_job_given_again_is_not_repeated_and_not_shared(tmp_path, capsys):
    asked = Experiment(**SMALL, recipe=Recipe(epochs=1, batch_size=16))
    how = execution(tmp_path)
    job = jobs.write_job(asked, how)
    with only_one(how.checkpoints(asked.key)):
        assert worker.main(job) == 1
    assert "another process does this run" in capsys.readouterr().err
    assert worker.main(job) == 0 and capsys.readouterr().out == ""
    assert worker.main(job) == 0
    assert "it is done: digits_autoencoder_" in capsys.readouterr().out


def test_an_error_of_a_process_reaches_the_notebook(tmp_path, monkeypatch):
    """What the first process leaves beside the job is what the caller raises.

    Here one process stands for two, and the error is one that only training finds.
    """
    recipe = Recipe(epochs=2, batch_size=16).model_copy(update={"learning_rate": 1e30})
    asked = Experiment(**SMALL).model_copy(update={"recipe": recipe})
    start = subprocess.run

    def in_this_process(command, **options):
        if "--nproc-per-node" not in command:  # git, for the provenance
            return start(command, **options)
        assert command[-2] == "--held"
        assert command[command.index("--nproc-per-node") + 1] == "2"
        monkeypatch.setattr(jobs, "read_job", lambda file: (asked, how))
        monkeypatch.setattr(worker, "read_job", lambda file: (asked, how))
        status = worker.main(Path(command[-1]), held=True)
        return subprocess.CompletedProcess(command, status, stdout="")

    how = execution(tmp_path, processes=2)
    monkeypatch.setattr(jobs.subprocess, "run", in_this_process)
    with pytest.raises(jobs.WorkerFailed, match=r"became (nan|inf)"):
        run(asked, how)
