"""A sweep from end to end: cells that die or raise, everything killed, then another profile."""

import os
import signal

import checkout
import faults

SWEEP = checkout.SWEEP | {"axes": {"latent": [2, 3, 4, 5]}, "seeds": [0], "limit_minutes": 60}


def test_a_sweep_survives_bad_cells_and_the_end_of_everything(tmp_path):
    """What is killed, and when, is varied by `make soak`.

    That nothing outlives what started it is held by the guard's own tests.
    """
    place = checkout.make(tmp_path / "checkout")
    bad = (checkout.PARAMETERS, checkout.BAD, checkout.CHECK, checkout.RUN)
    checkout.write_notebook(place, checkout.NOTEBOOK, *bad)
    checkout.write_sweep(place, SWEEP)
    process = faults.start_sweep(place)
    log = place / "sweep.log"

    def three_have_ended() -> bool:
        said = log.read_text()
        assert process.poll() is None, said
        return "latent=2 seed=0: done in" in said and said.count("FAILED") == 2

    faults.wait_for(three_have_ended)
    ended = (": done in", ": FAILED")
    lines = [line for line in log.read_text().splitlines() if any(end in line for end in ended)]
    said = {line.split(" ")[0]: line for line in lines}
    assert "Kernel died" in said["latent=3"]
    assert "ArithmeticError: loss became nan" in said["latent=4"]
    assert "latent=5" not in said
    (done,) = checkout.stamps(place).items()

    second = checkout.command(place, "-m", "engine.sweep", "tiny")
    assert second.returncode == 2
    assert "another run works in" in second.stderr

    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    faults.seconds_until_alone(place)

    checkout.write_tiny_notebook(place)  # mended; another text is no reason to run what is done
    again = checkout.command(place, "-m", "engine.sweep", "tiny", "--profile", "generic")
    assert "1 done, 3 to do" in checkout.succeeded(place, again)
    assert len(checkout.stamps(place)) == 4
    assert done in checkout.stamps(place).items()
    assert checkout.results(place) == checkout.undisturbed(tmp_path / "calm", SWEEP)
    assert "5 records in" in again.stdout
    assert (place / "reports" / "sweeps" / "tiny" / "table.parquet").exists()
