"""Whatever fails: nothing is lost, nothing half is taken for a result, and the user is told.

Quick ones of each kind; `make soak` injects some two hundred at random moments.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import time

import checkout
import faults
import pytest
import torch

from lib import checkpoint, experiment, locks, records
from lib.data import DataError
from lib.experiment import run


@pytest.fixture
def chance() -> random.Random:
    return random.Random(0)


def test_a_killed_training_ends_with_the_same_bits(tmp_path, chance):
    """SIGKILL twice in the middle, once with the newest state damaged after it, against a run that nobody disturbs."""
    asked, calm = faults.experiment(epochs=60), faults.execution(tmp_path / "calm")
    record, weights = faults.found(run(asked, calm).record), faults.weights(asked, calm)
    how, resumed = faults.execution(tmp_path), []
    for damage in ("flipped", None):
        process = faults.worker(asked, how)
        folder, before = how.checkpoints(asked.key), resumed[-1] if resumed else 0
        wait_for(lambda folder=folder, before=before: step(folder) > before + 20)
        process.kill()
        process.wait()
        assert records.find(how.results, asked.key) is None, "an unfinished run has no record"
        resumed.append(step(folder))
        if damage:
            faults.damage(checkpoint.states(folder)[-1], damage, chance)
    process = faults.worker(asked, how)
    assert process.wait(120) == 0
    assert faults.found(records.read(records.find(how.results, asked.key))) == record
    assert faults.weights(asked, how) == weights
    assert sorted(resumed) == resumed and not checkpoint.states(how.checkpoints(asked.key))


def wait_for(condition, patience=60):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def step(folder) -> int:
    states = checkpoint.states(folder)
    return int(states[-1].stem.split("-")[1]) if states else 0


@pytest.fixture
def small(tmp_path):
    return faults.experiment(options={"hidden": (8,), "discriminator": (4,), "latent": 2}), faults.execution(tmp_path)


@pytest.mark.parametrize("kilobytes", [0, 3, 8, 14])
def test_a_full_disk_is_an_error_and_leaves_nothing_half(small, kilobytes, monkeypatch):
    """Files may not grow beyond a few kilobytes: states, weights, per-image errors and record fail in turn."""
    asked, how = small
    expected = faults.found(run(asked, how.model_copy(update={"output": f"{how.output}/elsewhere"})).record)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, limits[1]))
    try:
        with pytest.raises((OSError, Exception), match=r"(?i)too large|I/O|No space|os error 27"):
            run(asked, how)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert records.find(how.results, asked.key) is None and not list(how.results.rglob("*.tmp"))
    for state in checkpoint.states(how.checkpoints(asked.key)):
        checkpoint.load(state)
    assert faults.found(run(asked, how).record) == expected


def test_results_that_cannot_be_written_are_an_error_before_training(small, tmp_path, monkeypatch):
    asked, how = small
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(experiment, "trained_model", lambda *arguments: pytest.fail("trained in vain"))
    with pytest.raises(OSError, match="file"):
        run(asked, how.model_copy(update={"output": str(tmp_path / "file")}))


@pytest.mark.parametrize("kind", ["truncated", "flipped"])
@pytest.mark.parametrize("part", ["json", "parquet", "safetensors"])
def test_a_damaged_result_is_named_and_made_again(small, part, kind, chance):
    asked, how = small
    first = run(asked, how)
    file = next(iter([*how.results.glob(f"*.{part}"), *how.checkpoints(asked.key).glob(f"model.{part}")]))
    whole = file.read_bytes()
    while file.read_bytes() == whole:
        faults.damage(file, kind, chance)
    with pytest.warns(UserWarning, match=file.name):
        again = run(asked, how)
    assert faults.found(again.record) == faults.found(first.record)
    assert torch.equal(*(r.model.encode(torch.ones(1, 1, 8, 8)) for r in (first, again)))
    assert faults.found(run(asked, how).record) == faults.found(first.record)


def test_a_clock_that_jumps_back_changes_nothing(small, monkeypatch):
    asked, how = small
    expected = faults.found(run(asked, how).record)
    clock = iter(range(10**9, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    assert faults.found(run(asked, how.model_copy(update={"output": f"{how.output}/later"})).record) == expected


def test_a_loss_that_is_not_finite_ends_the_run_without_a_record(small):
    asked, how = small
    wild = asked.model_copy(update={"recipe": asked.recipe.model_copy(update={"learning_rate": 1e30, "clip": None})})
    with pytest.raises(ArithmeticError, match=r"became (nan|inf) at step \d+.*learning rate"):
        run(wild, how)
    assert records.find(how.results, wild.key) is None


def test_data_that_changed_under_a_finished_run_is_noticed(tmp_path):
    from PIL import Image

    from lib.data.registry import read_once

    for number in range(20):
        Image.new("RGB", (8, 8), (number * 10, 0, 0)).save(tmp_path / f"{number}.png")
    asked, how = faults.experiment(dataset=f"folder:{tmp_path}", subset=None, probe=False), faults.execution(tmp_path / "reports")
    run(asked, how)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "3.png")
    read_once.cache_clear()
    with pytest.raises(DataError, match="made from other data than lies here"):
        run(asked, how)


def test_two_processes_that_ask_for_one_run_do_it_once(small):
    asked, how = small
    both = [faults.worker_that_runs(asked, how) for _ in range(2)]
    said = [process.communicate(timeout=120)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("TRAINED" in text for text in said) == 1 and len(list(how.results.glob("*.json"))) == 1


def test_a_lock_dies_with_its_holder(tmp_path):
    code = f"import time\nfrom pathlib import Path\nfrom lib.locks import only_one\nwith only_one(Path({str(tmp_path / 'x')!r})):\n    print('held', flush=True); time.sleep(99)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    holder.stdout.readline()
    with locks.only_one(tmp_path / "x", wait=False) as taken:
        assert not taken
    holder.kill()
    holder.wait()
    with locks.only_one(tmp_path / "x", wait=False) as taken:
        assert taken


BEHAVIOUR = """
import os, signal, time
if p.latent == 3:
    os.kill(os.getpid(), signal.SIGKILL)  # as when memory runs out
if p.latent == 4:
    raise ArithmeticError('loss became nan at step 3')
while p.latent == 5:
    time.sleep(1)
"""


def test_one_bad_cell_does_not_stop_a_sweep_and_each_says_what_happened(tmp_path):
    place = checkout.make(tmp_path / "checkout")
    checkout.write_tiny_notebook(place, BEHAVIOUR)
    checkout.write_sweep(place, checkout.SWEEP | {"axes": {"latent": [3, 4, 5, 2]}, "seeds": [0], "limit_minutes": 0.35})
    done = checkout.command(place, "-m", "lib.sweeps", "tiny")
    assert done.returncode == 1
    said = {line.split(" ")[0]: line for line in done.stdout.splitlines() if line.startswith("latent=")}
    assert "done in" in said["latent=2"] and "Kernel died" in said["latent=3"]
    assert "ArithmeticError: loss became nan" in said["latent=4"] and "longer than its limit of 21 s" in said["latent=5"]
    assert len(checkout.stamps(place)) == 1 and faults.seconds_until_alone(place) < 10
    assert "1 done, 3 to do" in checkout.command(place, "-m", "lib.sweeps", "tiny", "--", "--dry-run").stdout


def test_a_sweep_killed_at_its_kernel_papermill_engine_and_all_ends_as_if_undisturbed(tmp_path, chance):
    place = checkout.make(tmp_path / "checkout")
    checkout.write_tiny_notebook(place)
    checkout.write_sweep(place, checkout.SWEEP | {"seeds": [0]})
    for kinds in (("kernel", "papermill"), ("engine",), ("everything",)):
        process = faults.start_sweep(place)
        wait_for(lambda: sum(faults.kind_of(member) == "kernel" for member in faults.members(place)) == 2)
        for number, kind in enumerate(kinds, start=1):
            assert faults.kill(place, kind, chance)
            if len(kinds) == 2:  # the engine lives and reports it
                wait_for(lambda number=number: (place / "sweep.log").read_text().count("FAILED") == number)
        process.wait(60)
        assert faults.seconds_until_alone(place) < 20
    again = checkout.command(place, "-m", "lib.sweeps", "tiny")
    assert again.returncode == 0, again.stdout + again.stderr
    assert checkout.results(place) == checkout.undisturbed(tmp_path / "calm", checkout.SWEEP | {"seeds": [0]})


def test_a_second_engine_on_one_sweep_is_refused(tmp_path):
    place = checkout.make(tmp_path / "checkout")
    checkout.write_tiny_notebook(place)
    process = faults.start_sweep(place)
    wait_for(lambda: any(faults.kind_of(member) == "leash" for member in faults.members(place)))
    second = checkout.command(place, "-m", "lib.sweeps", "tiny")
    assert second.returncode == 2 and "another run works in" in second.stderr
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert faults.seconds_until_alone(place) < 20


def test_reports_that_cannot_be_written_are_refused_before_anything_runs(tmp_path):
    place = checkout.make(tmp_path / "checkout")
    checkout.write_tiny_notebook(place)
    (place / "reports").rmdir()
    (place / "reports").write_text("")
    done = checkout.command(place, "-m", "lib.sweeps", "tiny")
    assert done.returncode == 2 and "cannot be written" in done.stderr and "Traceback" not in done.stderr
