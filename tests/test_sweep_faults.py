"""A sweep in which cells hang, die or raise, whose processes are killed, or which is started twice."""

import os
import random
import signal

import checkout
import faults
from faults import wait_for

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


def test_a_sweep_killed_at_its_kernel_papermill_engine_and_all_ends_as_if_undisturbed(tmp_path):
    place = checkout.make(tmp_path / "checkout")
    checkout.write_tiny_notebook(place)
    checkout.write_sweep(place, checkout.SWEEP | {"seeds": [0]})
    for kinds in (("kernel", "papermill"), ("engine",), ("everything",)):
        process = faults.start_sweep(place)
        wait_for(lambda: sum(faults.kind_of(member) == "kernel" for member in faults.members(place)) == 2)
        for number, kind in enumerate(kinds, start=1):
            assert faults.kill(place, kind, random.Random(0))
            if len(kinds) == 2:  # the engine lives and reports it
                wait_for(lambda number=number: (place / "sweep.log").read_text().count("FAILED") == number)
        process.wait(60)
        assert faults.seconds_until_alone(place) < 20
    again = checkout.command(place, "-m", "lib.sweeps", "tiny")
    checkout.succeeded(place, again)
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
