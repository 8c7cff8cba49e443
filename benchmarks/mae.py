"""How fast the ViT-MAE trains, beside other projects' in one run: `python -m benchmarks.mae` (or `make bench`).

Every entrant lives in a process of its own, since the allocator's settings and the peak
memory belong to a process; they work in turn, in interleaved rounds, so that a busy
moment hits all alike. A round times some whole training steps (masks, forward, backward,
AdamW). Given are images/s (median over rounds), the median of the per-round ratios
against the fastest peer, as shipped and with our settings, FLOPs per image as torch
counts them, the share of the matrix-product peak that this machine reached in the same
run, and peak memory. Peers come with `pip install -e .[dev,peers]`; one that is missing is left out
and named. The result is printed and, with --name, written to reports/results/bench.
"""

import argparse
import importlib.metadata
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import peers
from benchmarks.peers import PEERS, RATE, RATIO, Size
from engine.publish import speed_row
from lib.feed import ALONE
from lib.files import REPORTS, write_json
from lib.machine import describe, fast_bf16, keep_freed_memory, resolve_device, resolve_precision
from lib.masks import Masks
from lib.models.family import Batch, build
from lib.pixels import Shape
from lib.run import provenance
from lib.streams import stream
from lib.training import Recipe, State, adamw, descend

SIZES = {"S": Size(32, 4, 192, 12, 3, 192, 4, 3), "B": Size(224, 16, 768, 12, 12, 512, 8, 16)}
CASES = (("S", 64), ("S", 256), ("B", 8))
FOLDER = REPORTS / "results" / "bench"


def ours(size: Size, images: Tensor, levers: bool) -> Callable[[], Tensor]:
    """Our model and our step.

    Without levers in float32 and with the whole decoder, as one would first write it.
    """
    shape = Shape(3, size.image, size.image, (size.patch, size.patch))
    names = ("dim", "depth", "heads", "decoder_dim", "decoder_depth", "decoder_heads")
    options = {name: getattr(size, name) for name in names}
    mean, std = torch.full((3,), 0.5), torch.full((3,), 0.25)
    model = build("mae", options, shape, mean, std, stream(0, "weights")).to(images.device)
    masks = Masks("random", RATIO, shape.patch, seed=0)
    recipe = Recipe(
        epochs=1,
        learning_rate=RATE,
        weight_decay=peers.DECAY,
        precision=resolve_precision("auto", images.device),
    )
    optimisers = {name: adamw(group, recipe) for name, group in model.groups().items()}
    state = State(model, optimisers, total=10**9)

    def batch() -> Batch:
        mask = masks(images, 0, len(images), state.step, 0.0).to(images.device)
        return Batch(images, mask, len(images), step=state.step)

    def step() -> Tensor:
        losses = descend(state, batch(), recipe, accumulate=1, processes=ALONE)
        state.step += 1
        return losses["loss"]

    if levers:
        return step
    return peers.stepper(model, lambda: whole_loss(model, batch()), images.device, tuned=False)


def whole_loss(model, batch: Batch) -> Tensor:
    """The loss on hidden patches by way of all of them."""
    squared = (model(batch.images, batch.mask) - model.target(batch.images)) ** 2
    return squared.mean(dim=2)[batch.mask].mean()


GROUPS = ("as shipped", "with our settings")
ENTRANTS = {
    f"{name}, {settings}": (make, settings == GROUPS[1])
    for settings in GROUPS
    for name, make in PEERS.items()
}
ENTRANTS |= {"ours, without levers": (ours, False), "ours": (ours, True)}


def make_step(name: str, case: tuple[str, int], device: torch.device) -> Callable[[], Tensor]:
    make, tuned = ENTRANTS[name]
    size = SIZES[case[0]]
    images = torch.rand(case[1], 3, size.image, size.image, generator=stream(0, "images")).to(
        device
    )
    torch.manual_seed(0)
    return make(size, images, tuned)


def present() -> tuple[dict[str, str], list[str]]:
    """Versions of the peers that are installed, and those that are not."""
    found, missing = {}, []
    for name in PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return found, missing


def seconds(step: Callable[[], Tensor], steps: int) -> float:
    began = time.perf_counter()
    for _ in range(steps):
        loss = step()
    loss.item()  # waits for an accelerator
    return time.perf_counter() - began


def peak(device: torch.device, dtype: torch.dtype, side: int = 2048) -> float:
    """GFLOP/s of a large matrix product, the best of ten."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    a @ b
    best = min(seconds(lambda: (a @ b)[0, 0], 4) / 4 for _ in range(10))
    return 2 * side**3 / best / 1e9


def flops(step: Callable[[], Tensor], batch: int) -> int:
    """Of one image in one training step, as torch counts them (matrix products, forward and backward)."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() // batch


class Entrant:
    """A process that trains one entrant when it is told to."""

    def __init__(self, name: str, case: tuple[str, int], device: str):
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.mae",
            "--device",
            device,
            "--serve",
            name,
            "--case",
            f"{case[0]}:{case[1]}",
        ]
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.about = json.loads(self.process.stdout.readline() or "null")
        if self.about is None:
            raise RuntimeError(f"{name} did not start: its error stands above")

    def seconds(self, steps: int) -> float:
        """Of one step, the mean of some."""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline()) / steps

    def memory(self) -> int:
        """End it; its peak memory in MB."""
        return round(float(self.process.communicate("0\n")[0]))


def serve(name: str, case: tuple[str, int], device: torch.device) -> int:
    """The other side of `Entrant`."""
    if ENTRANTS[name][1]:
        keep_freed_memory()
    step = make_step(name, case, device)
    for _ in range(3):
        step().item()
    print(json.dumps({"flops": flops(step, case[1])}), flush=True)
    while steps := int(sys.stdin.readline()):
        step().item()  # its caches are cold after the others' turns
        print(seconds(step, steps), flush=True)
    cuda = device.type == "cuda"
    print(
        torch.cuda.max_memory_allocated(device) / 2**20
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
    return 0


def measure(
    case: tuple[str, int], names: list[str], device: torch.device, rounds: int, least: float
) -> list[dict]:
    """A row for each entrant that took part in these rounds."""
    entrants = [Entrant(name, case, str(device)) for name in names]
    counts = [max(2, round(least / entrant.seconds(2))) for entrant in entrants]
    times = {name: [] for name in names}
    for _ in range(rounds):
        for entrant, count in zip(entrants, counts, strict=True):
            times[entrant.name].append(entrant.seconds(count))
    peaks = {
        str(dtype).removeprefix("torch."): round(peak(device, dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    rows = []
    for entrant in entrants:
        rates, cost = sorted(case[1] / t for t in times[entrant.name]), entrant.about["flops"]
        row = {
            "size": case[0],
            "batch": case[1],
            "entrant": entrant.name,
            "images_per_second": round(statistics.median(rates), 2),
        }
        row |= {
            "lowest": round(rates[0], 2),
            "highest": round(rates[-1], 2),
            "flops_per_image": cost,
            "memory_mb": entrant.memory(),
        }
        row |= {
            "share_of_peak": round(statistics.median(rates) * cost / 1e9 / max(peaks.values()), 4),
            "peak_gflops": peaks,
        }
        rows.append(row | {"against": against_fastest(times, entrant.name)})
    return rows


def against_fastest(times: dict[str, list[float]], name: str) -> list[float]:
    """Lowest, median and highest per-round ratio of an entrant's speed to the fastest peer's."""
    peer = min(
        (n for n in times if not n.startswith("ours")), key=lambda n: statistics.median(times[n])
    )
    ratios = sorted(b / a for a, b in zip(times[name], times[peer], strict=True))
    return [round(value, 2) for value in (ratios[0], statistics.median(ratios), ratios[-1])]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mae", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--case", action="append", help="such as S:64; may be given several times; default: all"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--seconds",
        type=float,
        default=1.5,
        help="that an entrant's part of a round takes at least",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument(
        "--name", help="of the file in reports/results/bench; default: nothing is written"
    )
    return parser.parse_args()


def main() -> int:
    chosen, device = parse(), resolve_device(parse().device)
    cases = (
        [(size, int(batch)) for size, batch in (case.split(":") for case in chosen.case)]
        if chosen.case
        else list(CASES)
    )
    if chosen.serve:
        return serve(chosen.serve, cases[0], device)
    versions, missing = present()
    machine = describe(device) | {"fast_bf16": fast_bf16(device)}
    print(", ".join(f"{name} {value}" for name, value in (machine | versions).items()))
    if missing:
        print(f"left out, since not installed (pip install -e .[peers]): {', '.join(missing)}")
    rows = []
    for case in cases:
        for settings in GROUPS:
            names = (
                [f"{name}, {settings}" for name in versions]
                + ["ours"]
                + (["ours, without levers"] if settings == GROUPS[0] else [])
            )
            print(f"\n{case[0]}, batch {case[1]}, peers {settings}", flush=True)
            found = measure(case, names, device, chosen.rounds, chosen.seconds)
            print(pd.DataFrame(map(speed_row, found)).to_string(index=False), flush=True)
            rows += [row | {"peers": settings} for row in found]
    if chosen.name:
        commit, dirty = provenance.commit()
        about = {
            "commit": commit,
            "dirty": dirty,
            "machine": machine,
            "versions": provenance.versions() | versions,
            "rows": rows,
        }
        write_json(FOLDER / f"{chosen.name}.json", about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
