"""Whatever fails: nothing is lost, nothing half is taken for a result, and the user is told.

Quick ones of each kind; `make soak` injects some two hundred at random moments.
"""

import random
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import faults
import pytest
import torch
from safetensors import SafetensorError

from lib import training
from lib.files import only_one
from lib.run import records, states
from lib.run.experiment import run


@pytest.fixture
def chance() -> random.Random:
    return random.Random(0)


def test_a_killed_training_ends_with_the_same_bits(tmp_path, chance):
    """SIGKILL in the middle and the newest state damaged after it, against a run that nobody disturbs."""
    asked, calm = faults.experiment(epochs=30), faults.execution(tmp_path / "calm")
    calm = calm.model_copy(update={"save_every": 60.0})
    record, weights = faults.found(run(asked, calm).record), faults.weights(asked, calm)
    how = faults.execution(tmp_path)
    folder = how.checkpoints(asked.key)
    process = faults.worker(asked, how)
    faults.wait_for(lambda: step(folder) > 20)
    process.kill()
    process.wait()
    assert records.find(how.results, asked.key) is None, "an unfinished run has no record"
    assert step(folder) < 30 * 12, "it was killed in the middle"
    faults.damage(states.files(folder)[-1], "flipped", chance)
    with pytest.warns(UserWarning, match="state"):
        again = run(asked, how)
    assert faults.found(again.record) == record and faults.weights(asked, how) == weights
    assert not states.files(folder)


def step(folder) -> int:
    there = states.files(folder)
    return int(there[-1].stem.split("-")[1]) if there else 0


@pytest.fixture
def small(tmp_path):
    return faults.experiment(
        options={"hidden": (8,), "discriminator": (4,), "latent": 2}
    ), faults.execution(tmp_path)


@pytest.mark.parametrize("kilobytes", [0, 3, 8, 14])
def test_a_full_disk_is_an_error_and_leaves_nothing_half(small, kilobytes):
    """Files may not grow beyond a few kilobytes: states, weights, per-image errors and record fail in turn."""
    asked, how = small
    expected = faults.found(
        run(asked, how.model_copy(update={"output": f"{how.output}/elsewhere"})).record
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, limits[1]))
    try:
        with pytest.raises(
            (OSError, SafetensorError), match=r"(?i)too large|I/O|No space|os error 27"
        ):
            run(asked, how)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert records.find(how.results, asked.key) is None and not list(how.results.rglob("*.tmp"))
    for state in states.files(how.checkpoints(asked.key)):
        states.load(state)
    assert faults.found(run(asked, how).record) == expected


@pytest.mark.parametrize("kind", ["truncated", "flipped"])
@pytest.mark.parametrize("part", ["json", "parquet", "safetensors"])
def test_a_damaged_result_is_named_and_made_again(small, part, kind, chance):
    asked, how = small
    first = run(asked, how)
    file = next(
        iter([*how.results.glob(f"*.{part}"), *how.checkpoints(asked.key).glob(f"model.{part}")])
    )
    whole = file.read_bytes()
    while file.read_bytes() == whole:
        faults.damage(file, kind, chance)
    with pytest.warns(UserWarning, match=file.name):
        again = run(asked, how)
    assert faults.found(again.record) == faults.found(first.record)
    assert torch.equal(*(r.model.encode(torch.ones(1, 1, 8, 8)) for r in (first, again)))
    assert faults.found(run(asked, how).record) == faults.found(first.record)


def test_a_loss_that_is_not_finite_ends_the_run_without_a_record(small):
    asked, how = small
    wild = asked.model_copy(
        update={"recipe": asked.recipe.model_copy(update={"learning_rate": 1e30, "clip": None})}
    )
    with pytest.raises(ArithmeticError, match=r"became (nan|inf) at step \d+.*learning rate"):
        run(wild, how)
    assert records.find(how.results, wild.key) is None


def test_of_two_that_ask_for_one_run_one_does_it(small, monkeypatch):
    """Two threads stand for two processes: the lock is a file's, and does not tell them apart."""
    asked, how = small
    trained, train = [], training.train

    def slow(*arguments, **names):
        trained.append(threading.get_ident())
        time.sleep(0.5)
        return train(*arguments, **names)

    monkeypatch.setattr(training, "train", slow)
    with ThreadPoolExecutor(2) as both:
        one, other = both.map(lambda _: run(asked, how), range(2))
    assert (
        len(trained) == 1
        and one.record == other.record
        and len(list(how.results.glob("*.json"))) == 1
    )


def test_of_two_quick_runs_in_one_folder_one_waits(small, monkeypatch):
    """Both work, since nothing is kept, and never at once: they write the same files."""
    asked, how = small
    quick = how.model_copy(update={"scale": "quick"})
    working, train = [], training.train

    def slow(*arguments, **names):
        working.append(1)
        assert len(working) == 1, "two at once"
        time.sleep(0.3)
        found = train(*arguments, **names)
        working.pop()
        return found

    monkeypatch.setattr(training, "train", slow)
    with ThreadPoolExecutor(2) as both:
        one, other = both.map(lambda _: run(asked, quick), range(2))
    assert faults.found(one.record) == faults.found(other.record)


def test_a_lock_dies_with_its_holder(tmp_path):
    code = f"import time\nfrom pathlib import Path\nfrom lib.files import only_one\nwith only_one(Path({str(tmp_path / 'x')!r})):\n    print('held', flush=True); time.sleep(99)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    holder.stdout.readline()
    with only_one(tmp_path / "x", wait=False) as taken:
        assert not taken
    holder.kill()
    holder.wait()
    with only_one(tmp_path / "x", wait=False) as taken:
        assert taken
