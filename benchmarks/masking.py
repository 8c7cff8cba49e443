"""How long masks take to draw: `python -m benchmarks.masking` (seconds).

256 images of 14x14 patches, the best of some rounds in which all strategies take turns, on one
thread. Given are milliseconds, and the ratio to random masks in the same run; written to
reports/tables/masks.json.
"""

import time

import torch

from lib.files import REPORTS, write_json
from lib.machine import describe
from lib.masking import STRATEGIES, draw
from lib.run import provenance
from lib.streams import stream

BATCH, GRID = 256, (14, 14)
ROUNDS = 20


def seconds(name: str, number: int) -> float:
    """Of one draw, at the ratio nearest to .75."""
    generator = stream(number, name)
    ratio = STRATEGIES[name].nearest(0.75)
    start = time.perf_counter()
    draw(name, batch=BATCH, grid=GRID, ratio=ratio, generator=generator)
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    rounds = [{name: seconds(name, number) for name in STRATEGIES} for number in range(ROUNDS)]
    best = {name: min(one[name] for one in rounds) for name in STRATEGIES}
    found = {
        name: {"ms": round(1e3 * taken, 2), "times random": round(taken / best["random"], 1)}
        for name, taken in sorted(best.items(), key=lambda item: item[1])
    }
    for name, row in found.items():
        print(f"{name:15}{row['ms']:8.1f} ms {row['times random']:6.1f} x random")
    machine = describe(torch.device("cpu"))
    about = {"images": BATCH, "grid": GRID, "machine": machine, "commit": provenance.commit()[0]}
    write_json(REPORTS / "tables" / "masks.json", about | {"strategies": found})


if __name__ == "__main__":
    main()
