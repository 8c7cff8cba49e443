"""A sweep from end to end through the engine: cells that die or raise, everything killed, the same command on another profile."""

import os
import signal

import checkout
import faults

SWEEP = checkout.SWEEP | {"axes": {"latent": [2, 3, 4, 5]}, "seeds": [0], "limit_minutes": 60}


def test_a_sweep_survives_bad_cells_and_the_end_of_everything(tmp_path):
    """What is killed, and when, is varied by `make soak`; the leash's own tests hold that nothing outlives what started it."""
    place = checkout.make(tmp_path / "checkout")
    checkout.write_notebook(place, "01_vanilla_autoencoder", checkout.PARAMETERS, checkout.BAD, checkout.CHECK, checkout.RUN)
    checkout.write_sweep(place, SWEEP)
    process, log = faults.start_sweep(place), place / "sweep.log"
    faults.wait_for(lambda: "latent=2 seed=0: done in" in log.read_text() and log.read_text().count("FAILED") == 2)
    said = {line.split(" ")[0]: line for line in log.read_text().splitlines() if line.startswith("latent=")}
    assert "Kernel died" in said["latent=3"] and "ArithmeticError: loss became nan" in said["latent=4"] and "latent=5" not in said
    (done,) = checkout.stamps(place).items()

    second = checkout.command(place, "-m", "lib.sweeps", "tiny")
    assert second.returncode == 2 and "another run works in" in second.stderr

    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    faults.seconds_until_alone(place)

    checkout.write_tiny_notebook(place)  # mended; another text is no reason to run what is done
    again = checkout.command(place, "-m", "lib.sweeps", "tiny", "--profile", "generic")
    assert "1 done, 3 to do" in checkout.succeeded(place, again)
    assert len(checkout.stamps(place)) == 4 and done in checkout.stamps(place).items()
    assert checkout.results(place) == checkout.undisturbed(tmp_path / "calm", SWEEP)
    assert "5 records in" in again.stdout and (place / "reports" / "sweeps" / "tiny" / "table.parquet").exists()
