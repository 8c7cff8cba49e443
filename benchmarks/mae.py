"""How fast the ViT-MAE trains, beside other projects' in one run: `python -m benchmarks.mae` (or `make bench`).

Interleaved rounds in one process, so that a busy moment hits every entrant alike; a
round times some whole training steps (masks, forward, backward, AdamW). Given are images/s
(median over rounds), the median of the per-round ratios against the fastest peer as
shipped, FLOPs per image as torch counts them, the share of the matrix-product peak
that this machine reached in the same run, and peak memory, each measured in a
process of its own. Peers come with `pip install -e .[dev,peers]`; one that is missing is left out
and named. The result is printed and written to reports/results/bench.
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

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import peers
from benchmarks.peers import PEERS, RATE, RATIO, Size
from lib import records
from lib.files import replace_file
from lib.machine import describe, fast_bf16, resolve_device, resolve_precision
from lib.masking import draw
from lib.models import MODELS, build
from lib.optim import Batch, StepSettings
from lib.paths import REPORTS
from lib.pixels import Shape
from lib.streams import stream

SIZES = {"S": Size(32, 4, 192, 12, 3, 192, 4, 3), "B": Size(224, 16, 768, 12, 12, 512, 8, 16)}
CASES = (("S", 64), ("S", 256), ("B", 8))
REQUIRED = {("S", 64): 2.4, ("S", 256): 3.0, ("B", 8): 3.0}  # against the fastest peer as shipped
FOLDER = REPORTS / "results" / "bench"


def ours(size: Size, images: Tensor, levers: bool) -> Callable[[], Tensor]:
    """Our model and our step; without levers in float32 and with the whole decoder, as one would first write it."""
    shape = Shape(3, size.image, size.image, (size.patch, size.patch))
    names = ("dim", "depth", "heads", "decoder_dim", "decoder_depth", "decoder_heads")
    options = {name: getattr(size, name) for name in names}
    model = build("mae", options, shape, torch.full((3,), 0.5), torch.full((3,), 0.25), stream(0, "weights")).to(images.device)
    generator, count = stream(0, "mask"), len(images)

    def mask() -> Tensor:
        return draw("random", batch=count, grid=shape.grid, ratio=RATIO, generator=generator).to(images.device)

    if not levers:
        return peers.stepper(model, lambda: whole_loss(model, images, mask()), images.device, tuned=False)
    precision = resolve_precision("auto", images.device)
    step = MODELS["mae"].make_step(model, StepSettings(RATE, peers.DECAY, precision=precision))
    return lambda: step(Batch(images, mask(), count, generator))["loss"]


def whole_loss(model, images: Tensor, mask: Tensor) -> Tensor:
    return model.patch_errors(images, mask)[mask].mean()


ENTRANTS = {f"{name}, as shipped": (make, False) for name, make in PEERS.items()}
ENTRANTS |= {f"{name}, with our settings": (make, True) for name, make in PEERS.items()}
ENTRANTS |= {"ours, without levers": (ours, False), "ours": (ours, True)}


def make_step(name: str, case: tuple[str, int], device: torch.device) -> Callable[[], Tensor]:
    make, tuned = ENTRANTS[name]
    size = SIZES[case[0]]
    images = torch.rand(case[1], 3, size.image, size.image, generator=stream(0, "images")).to(device)
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


def measure(case: tuple[str, int], names: list[str], device: torch.device, rounds: int, least: float) -> list[dict]:
    """A row for each entrant."""
    steps = {name: make_step(name, case, device) for name in names}
    for step in steps.values():
        step().item()
    counts = {name: max(1, round(least / seconds(step, 1))) for name, step in steps.items()}
    times = {name: [] for name in names}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(step, counts[name]) / counts[name])
    peaks = {str(dtype).removeprefix("torch."): peak(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    rows = []
    for name in names:
        rates = sorted(case[1] / t for t in times[name])
        cost = flops(steps[name], case[1])
        row = {"size": case[0], "batch": case[1], "entrant": name, "images_per_second": round(statistics.median(rates), 2)}
        row |= {"lowest": round(rates[0], 2), "highest": round(rates[-1], 2), "flops_per_image": cost}
        row["share_of_peak"] = round(statistics.median(rates) * cost / 1e9 / max(peaks.values()), 4)
        rows.append(row | {"times": times[name]})
    against_peers(rows)
    return [row | {"peak_gflops": {name: round(value) for name, value in peaks.items()}} for row in rows]


def against_peers(rows: list[dict]) -> None:
    """Median per-round ratios of every entrant against the fastest peer as shipped, and as set like ours."""
    for settings, name in (("as shipped", "against_shipped"), ("with our settings", "against_tuned")):
        candidates = [row for row in rows if row["entrant"].endswith(settings)]
        fastest = max(candidates, key=lambda row: row["images_per_second"], default=None)
        for row in rows:
            ratios = sorted(b / a for a, b in zip(row["times"], fastest["times"], strict=True)) if fastest else []
            row[name] = [round(value, 2) for value in (ratios[0], statistics.median(ratios), ratios[-1])] if ratios else None
    for row in rows:
        del row["times"]


def memory(name: str, case: tuple[str, int], device: str) -> float:
    """Peak memory in MB of a few steps, in a process of its own; that of the imports and the model's class is included."""
    command = [sys.executable, "-m", "benchmarks.mae", "--device", device, "--memory-of", name, "--case", f"{case[0]}:{case[1]}"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1])


def own_memory(name: str, case: tuple[str, int], device: torch.device) -> float:
    step = make_step(name, case, device)
    for _ in range(3):
        step().item()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(rows: list[dict]) -> str:
    lines = [f"{'':36}{'images/s':>10}{'against the fastest peer':>26}{'GFLOP':>8}{'of peak':>9}{'MB':>8}"]
    for row in rows:
        ratio = row["against_shipped"]
        said = f"{ratio[1]:.2f} ({ratio[0]:.2f}-{ratio[2]:.2f})" if ratio else ""
        lines.append(
            f"{row['entrant']:36}{row['images_per_second']:10.1f}{said:>26}{row['flops_per_image'] / 1e9:8.2f}"
            f"{row['share_of_peak']:9.1%}{row['memory_mb'] or 0:8.0f}"
        )
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mae", description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", help="such as S:64; may be given several times; default: all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="that an entrant's part of a round takes at least")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-memory", action="store_true", help="skip the peak memory, which takes a process each")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--name", help="of the file in reports/results/bench; default: nothing is written")
    return parser.parse_args()


def main() -> int:
    chosen, device = parse(), resolve_device(parse().device)
    cases = [(size, int(batch)) for size, batch in (case.split(":") for case in chosen.case)] if chosen.case else list(CASES)
    if chosen.memory_of:
        print(own_memory(chosen.memory_of, cases[0], device))
        return 0
    versions, missing = present()
    names = [name for name in ENTRANTS if not name.startswith(tuple(missing))] if missing else list(ENTRANTS)
    machine = describe(device) | {"fast_bf16": fast_bf16(device)}
    print(", ".join(f"{name} {value}" for name, value in (machine | versions).items()))
    if missing:
        print(f"left out, since not installed (pip install -e .[peers]): {', '.join(missing)}")
    rows = []
    for case in cases:
        print(f"\n{case[0]}, batch {case[1]}", flush=True)
        found = measure(case, names, device, chosen.rounds, chosen.seconds)
        for row in found:
            row["memory_mb"] = None if chosen.no_memory else round(memory(row["entrant"], case, chosen.device))
        print(table(found), flush=True)
        best = found[-1]["against_shipped"]
        if best and case in REQUIRED:
            print(f"ours trains {best[1]:.2f} times as fast as the fastest peer as shipped (asked here: {REQUIRED[case]})")
        rows += found
    if chosen.name:
        commit, dirty = records.commit()
        about = {"commit": commit, "dirty": dirty, "machine": machine, "versions": records.versions() | versions, "rows": rows}
        FOLDER.mkdir(parents=True, exist_ok=True)
        replace_file(FOLDER / f"{chosen.name}.json", lambda aside: aside.write_text(json.dumps(about, indent=1) + "\n"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
