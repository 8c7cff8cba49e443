"""Two hundred faults, one after another: `make soak` (half an hour on two cores).

Each round injects a fault at a random moment, then does what README tells a user to do
(the same command again), and compares what is there in the end with what an undisturbed
run has given: every measure, a sum over the errors of all images, and for trainings
every weight, bit by bit. The rows of a part go to reports/tables/soak.csv when it ends,
with the commit they were made from. `--few` injects two of each and writes nothing;
`--only PART` replaces the rows of one part. Filling a disk needs root (it mounts one).
"""

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import checkout
import faults
import pandas as pd
import torch

from lib.files import REPORTS, replace_file, write_json
from lib.machine import describe
from lib.run import provenance, records, states
from lib.run.experiment import run

TABLE = REPORTS / "tables" / "soak.csv"


@dataclass
class Soak:
    """Counts what became of each fault."""

    place: Path
    few: bool
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    rows: list[dict] = field(default_factory=list)

    def count(self, wanted: int) -> range:
        return range(2 if self.few else wanted)

    def note(self, fault: str, said: str, injected: int, lost: int) -> None:
        row = {
            "fault": fault,
            "injected": injected,
            "survived": injected - lost,
            "lost": lost,
            "what the user sees": said,
        }
        self.rows.append(row | {"commit": provenance.commit()[0]})
        print(self.rows[-1], flush=True)

    def folder(self, name: str) -> Path:
        place = self.place / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return place


def trainings(soak: Soak) -> None:
    """SIGKILL at random moments of a training, alone or with damage to its newest state; then the same command."""
    asked = faults.experiment(epochs=250)
    calm = faults.execution(soak.folder("calm"))
    began = time.monotonic()
    assert faults.worker(asked, calm).wait() == 0
    whole = time.monotonic() - began
    expected = (
        faults.found(records.read(records.find(calm.results, asked.key))),
        faults.weights(asked, calm),
    )
    kinds = (
        ["killed"] * len(soak.count(50))
        + ["truncated"] * len(soak.count(15))
        + ["flipped"] * len(soak.count(15))
    )
    soak.chance.shuffle(kinds)
    injected, lost = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0)
    how, open_faults = faults.execution(soak.folder("killed")), []
    while kinds or open_faults:
        process = faults.worker(asked, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(soak.chance.uniform(0.3, 1.0) * whole * 0.9 if kinds else None)
        if process.poll() is None:
            process.kill()
            process.wait()
            kind, kept = kinds.pop(), states.files(how.checkpoints(asked.key))
            if kind != "killed" and kept:
                faults.damage(kept[-1], kind, soak.chance)
            injected[kind] += 1
            open_faults.append(kind)
            continue
        same = (
            faults.found(records.read(records.find(how.results, asked.key))),
            faults.weights(asked, how),
        ) == expected
        for kind in open_faults:
            lost[kind] += not same
        how, open_faults = faults.execution(soak.folder("killed")), []
    said = {"killed": "nothing; the same command goes on from the last state"}
    for kind in injected:
        title = (
            "training: SIGKILL"
            if kind == "killed"
            else f"training: SIGKILL, then the newest state {kind}"
        )
        soak.note(
            title,
            said.get(kind, "a warning that names the file; the state before it is used"),
            injected[kind],
            lost[kind],
        )


def sweeps(soak: Soak) -> None:
    """SIGKILL of a kernel, of papermill, of the engine or of everything, at random moments of a sweep; then the same command."""
    sweep = checkout.SWEEP | {"axes": {"latent": [2, 3]}}
    expected = checkout.undisturbed(soak.folder("calm sweep"), sweep)
    wanted = ["kernel", "papermill", "engine", "everything"] * len(soak.count(13))
    injected, lost, slowest = dict.fromkeys(wanted, 0), dict.fromkeys(wanted, 0), 0.0
    place, open_faults = fresh_checkout(soak, sweep), []
    process, end = faults.start_sweep(place), time.monotonic() + 60 * (len(wanted) + 10)
    while (wanted or open_faults) and time.monotonic() < end:
        if wanted and process.poll() is None:
            kind = wanted[-1]
            if kind in ("kernel", "papermill"):
                while process.poll() is None and not any(
                    faults.kind_of(member) == kind for member in faults.members(place)
                ):
                    time.sleep(0.2)
            time.sleep(soak.chance.uniform(0, 9 if kind in ("kernel", "papermill") else 16))
            if process.poll() is None and faults.kill(place, kind, soak.chance):
                injected[wanted.pop()] += 1
                open_faults.append(kind)
                if kind not in (
                    "kernel",
                    "papermill",
                ):  # else the engine goes on with the other cells
                    process.wait()
            continue
        process.wait()
        slowest = max(slowest, faults.seconds_until_alone(place))
        if process.returncode == 0 and len(checkout.stamps(place)) == 4:
            same = checkout.results(place) == expected
            for done in open_faults:
                lost[done] += not same
            place, open_faults = fresh_checkout(soak, sweep), []
        process = faults.start_sweep(place)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()
    for kind in open_faults:
        lost[kind] += 1  # the sweep did not come to its end
    for kind in injected:
        said = "the cell FAILED, the others go on" if kind in ("kernel", "papermill") else "nothing"
        soak.note(
            f"sweep: SIGKILL of {kind}",
            f"{said}; the same command goes on; no process left after {slowest:.0f} s",
            injected[kind],
            lost[kind],
        )


def fresh_checkout(soak: Soak, sweep: dict) -> Path:
    place = checkout.make(soak.folder("swept"))
    checkout.write_tiny_notebook(place)
    checkout.write_sweep(place, sweep)
    return place


def in_process(soak: Soak):
    """A short training in this process, and what it gives undisturbed."""
    asked = faults.experiment(options={"hidden": (8,), "discriminator": (4,), "latent": 2})
    expected = faults.found(run(asked, faults.execution(soak.folder("calm"))).record)
    return asked, expected


def damaged_results(soak: Soak) -> None:
    """A finished record, its per-image errors or its weights, truncated or with one bit flipped."""
    asked, expected = in_process(soak)
    how = faults.execution(soak.folder("damaged"))
    run(asked, how)
    weights = faults.weights(asked, how)
    for part, title in (
        ("json", "record"),
        ("parquet", "per-image errors"),
        ("safetensors", "weights"),
    ):
        for kind in ("truncated", "flipped"):
            lost = 0
            for _ in soak.count(8):
                file = next(
                    iter(
                        [
                            *how.results.glob(f"*.{part}"),
                            *how.checkpoints(asked.key).glob(f"model.{part}"),
                        ]
                    )
                )
                faults.damage(file, kind, soak.chance)
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    same = (
                        faults.found(run(asked, how).record) == expected
                        and faults.weights(asked, how) == weights
                    )
                lost += not (same and any(file.name in str(warning.message) for warning in said))
            soak.note(
                f"finished {title} {kind}",
                "a warning that names the file; the run is done again",
                len(soak.count(8)),
                lost,
            )


def full_disks(soak: Soak) -> None:
    """A file system that is full at a random moment; then room is made and the same run asked for."""
    if os.geteuid() != 0:
        print("full disks are left out: mounting one needs root")
        return
    asked, expected = in_process(soak)
    lost, stopped = 0, 0
    for _ in soak.count(20):
        place = soak.folder("disk")
        how = faults.execution(place)
        with faults.small_disk(place, soak.chance.randrange(4, 60, 4)) as make_room:
            try:
                run(asked, how)
            except Exception as error:  # safetensors has an error of its own
                stopped += 1
                lost += (
                    "space" not in str(error).lower() and "os error 28" not in str(error).lower()
                )
                lost += records.find(how.results, asked.key) is not None
            make_room()
            lost += faults.found(run(asked, how).record) != expected
    soak.note(
        "disk full while states, weights, errors or record are written",
        "the error of the disk, no record",
        stopped,
        lost,
    )


def hostile_cells(soak: Soak) -> None:
    """Cells that die as for want of memory, raise, or hang, beside one that is sound."""
    sweep = checkout.SWEEP | {"axes": {"latent": [3, 4, 5, 2]}, "seeds": [0], "limit_minutes": 2}
    names = {3: "memory runs out in a cell", 4: "loss is not finite in a cell", 5: "a cell hangs"}
    said = {3: "Kernel died", 4: "ArithmeticError: loss became nan", 5: "longer than its limit"}
    lost = dict.fromkeys(names, 0)
    for _ in soak.count(2):
        place = checkout.make(soak.folder("hostile"))
        checkout.write_notebook(
            place,
            "01_vanilla_autoencoder",
            checkout.PARAMETERS,
            checkout.BAD,
            checkout.CHECK,
            checkout.RUN,
        )
        checkout.write_sweep(place, sweep)
        done = checkout.command(place, "-m", "engine.sweep", "tiny")
        for latent in names:
            lost[latent] += said[latent] not in done.stdout or len(checkout.stamps(place)) != 1
    for latent, name in names.items():
        soak.note(
            name,
            f"FAILED: {said[latent]} ...; the others are done",
            len(soak.count(2)),
            lost[latent],
        )


def together(soak: Soak) -> None:
    """Two sweeps at once on one checkout."""
    lost = 0
    for _ in soak.count(3):
        place = fresh_checkout(soak, checkout.SWEEP)
        process = faults.start_sweep(place)
        faults.wait_for(
            lambda place=place: any(
                faults.kind_of(member) == "guard" for member in faults.members(place)
            )
        )
        second = checkout.command(place, "-m", "engine.sweep", "tiny")
        lost += second.returncode != 2 or "another run works in" not in second.stderr
        os.killpg(process.pid, 9)
        process.wait()
        faults.seconds_until_alone(place)
    soak.note(
        "a second sweep on the same checkout",
        "another run works in ...: wait for it",
        len(soak.count(3)),
        lost,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--few",
        action="store_true",
        help="two faults of each kind, to see that it works; writes no table",
    )
    parser.add_argument(
        "--only",
        help="one kind: trainings, sweeps, damaged_results, full_disks, hostile_cells or together",
    )
    options = parser.parse_args()
    parts = (damaged_results, full_disks, hostile_cells, together, trainings, sweeps)
    torch.set_num_threads(1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        soak = Soak(Path(place), options.few)
        for part in parts:
            if options.only in (None, part.__name__):
                part(soak)
                if not options.few:
                    write(soak.rows)
    table = pd.DataFrame(soak.rows)
    total = {name: int(table[name].sum()) for name in ("injected", "survived", "lost")}
    print(
        table.to_string(index=False), f"\n{total} in {(time.monotonic() - began) / 60:.0f} minutes"
    )
    return int(total["lost"] > 0)


def write(rows: list[dict]) -> None:
    """The table with these rows in place of those of the same faults, and a line on the machine and the sums."""
    fresh = pd.DataFrame(rows)
    old = pd.read_csv(TABLE) if TABLE.exists() else fresh.iloc[:0]
    table = pd.concat([old[~old["fault"].isin(fresh["fault"])], fresh])
    about = {"machine": describe(torch.device("cpu"))} | {
        name: int(table[name].sum()) for name in ("injected", "survived", "lost")
    }
    replace_file(TABLE, lambda aside: table.to_csv(aside, index=False, lineterminator="\n"))
    write_json(TABLE.with_suffix(".json"), about)


if __name__ == "__main__":
    sys.exit(main())
