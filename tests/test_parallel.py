"""Several processes train what one would: same curves, same reading, states that pass from one number to another."""

import json
import subprocess
import sys
from pathlib import Path

import parallel_runs
import pytest

from lib import worker
from lib.experiment import run
from lib.locks import only_one
from lib.settings import Execution, Experiment
from lib.training import Recipe


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What one process, and what three, have made of the same trainings."""
    out = tmp_path_factory.mktemp("parallel")
    parallel_runs.main(out)
    begin(out / "states")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    done = subprocess.run([*torchrun, parallel_runs.__file__, str(out)], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    return tuple(json.loads((out / f"{count}.json").read_text()) for count in (1, 3))


def begin(place: Path) -> None:
    """One process trains seven steps, saves, and is killed."""

    class Killed(Exception):
        pass

    def stop(step, total, row):
        if step >= 7:
            raise Killed

    with pytest.raises(Killed):
        parallel_runs.training("mae", run="begun by one", folder=place, save_every=0.0, progress=stop)


def curves(history):
    return [value for row in history for name, value in row.items() if "loss" in name or name in ("discriminator", "generator")]


@pytest.mark.parametrize("name", parallel_runs.OPTIONS)
def test_processes_and_parts_of_a_batch_do_not_change_the_curve(runs, name):
    """Shares of 16 and of the last 5 images are uneven for three processes, and for three parts of a share."""
    one, three = runs
    assert three["processes"] == 3 and len(curves(one[name])) >= 12
    assert curves(one[f"{name}, accumulated"]) == pytest.approx(curves(one[name]), rel=1e-5)
    assert curves(three[name]) == pytest.approx(curves(one[name]), rel=1e-4)
    assert curves(three[f"{name}, accumulated"]) == pytest.approx(curves(one[name]), rel=1e-4)


def test_no_image_is_read_twice_and_none_is_left_out(runs):
    one, three = runs
    assert sorted(three["keep"]) == list(range(53)) == sorted(one["keep"])
    assert len(three["drop"]) == 48 == len(set(three["drop"])) and set(three["drop"]) == set(one["drop"]), "three whole batches"


def test_a_state_of_one_process_is_continued_by_three(runs):
    one, three = runs
    assert curves(three["continued"]) == pytest.approx(curves(one["mae"]), rel=1e-4)
    assert three["states"][-1] == 12, "the last state is the end of training, written by one process"


SMALL = {
    "dataset": "digits", "subset": 60, "patch_size": 2, "model": "autoencoder", "options": {"hidden": (8,), "latent": 3},
    "evaluate_images": 12, "probe_images": 60, "test_masks": ("random@0.75",),
}  # fmt: skip


def test_a_notebook_can_ask_for_two_processes(tmp_path):
    """The whole way: a job file, torchrun as a subprocess, a record by process 0, weights read back."""
    asked = Experiment(**SMALL, recipe=Recipe(epochs=2, batch_size=16, evaluations=2))
    done = [run(asked, Execution(output=str(tmp_path / str(n)), scale="standard", processes=n, progress=False)) for n in (1, 2)]
    assert done[0].record.key == done[1].record.key, "how many processes train is not part of what was run"
    assert done[1].record.provenance.machine["processes"] == 2
    assert [row["validation_loss"] for row in done[1].record.history] == pytest.approx(
        [row["validation_loss"] for row in done[0].record.history], rel=1e-4
    )
    assert done[1].value("random@0.75/psnr_hidden") == pytest.approx(done[0].value("random@0.75/psnr_hidden"), rel=1e-3)
    again = run(asked, Execution(output=str(tmp_path / "2"), scale="standard", processes=2, progress=False))
    assert again.record == done[1].record and again.model is not None


def test_a_job_given_again_is_not_repeated_and_not_shared(tmp_path, capsys):
    asked = Experiment(**SMALL, recipe=Recipe(epochs=1, batch_size=16))
    how = Execution(output=str(tmp_path), scale="standard", progress=False)
    job = worker.write_job(asked, how)
    with only_one(how.checkpoints(asked.key)):
        assert worker.main(job) == 1 and "another process does this run" in capsys.readouterr().err
    assert worker.main(job) == 0 and capsys.readouterr().out == ""
    assert worker.main(job) == 0 and "it is done: digits_autoencoder_" in capsys.readouterr().out


def test_an_error_of_a_process_reaches_the_notebook(tmp_path, monkeypatch):
    """What the first process leaves beside the job is what the caller raises; here one process stands for two."""
    asked = Experiment(**SMALL | {"patch_size": 3}, recipe=Recipe(epochs=2, batch_size=16))
    start = subprocess.run

    def in_this_process(command, **options):
        if "--nproc-per-node" not in command:  # git, for the provenance
            return start(command, **options)
        assert command[-2] == "--held" and command[command.index("--nproc-per-node") + 1] == "2"
        return subprocess.CompletedProcess(command, worker.main(Path(command[-1]), held=True), stdout="")

    monkeypatch.setattr(worker.subprocess, "run", in_this_process)
    with pytest.raises(worker.WorkerFailed, match="3x3 do not tile images of 8x8"):
        run(asked, Execution(output=str(tmp_path), scale="standard", processes=2, progress=False))
