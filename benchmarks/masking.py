"""How long masks take to draw: `python -m benchmarks.masking` (seconds).

256 colour images of 14x14 patches of 4 pixels, at which some strategies look, the best of some
rounds in which all take turns, on one thread. Those that ask a model cost what it costs and are
left out. Given are milliseconds, and the ratio to random masks in the same run; written to
reports/tables/masks.json.
"""

import time

import torch
from torch import Tensor

from lib.files import REPORTS, write_json
from lib.machine import describe
from lib.masking import STRATEGIES, draw
from lib.run import provenance
from lib.scores import OF_A_MODEL, scores_of
from lib.streams import stream

BATCH, GRID, PATCH = 256, (14, 14), (4, 4)
ROUNDS = 20
NAMES = [name for name, one in STRATEGIES.items() if one.looks_at not in OF_A_MODEL]


def seconds(name: str, number: int, images: Tensor) -> float:
    """Of one draw, at the ratio nearest to .75, with the look at the images."""
    generator = stream(number, name)
    ratio = STRATEGIES[name].nearest(0.75)
    start = time.perf_counter()
    scores = scores_of(name, images, PATCH)
    draw(name, batch=BATCH, grid=GRID, ratio=ratio, generator=generator, scores=scores)
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    size = (BATCH, 3, GRID[0] * PATCH[0], GRID[1] * PATCH[1])
    images = torch.rand(size, generator=stream(0, "images"))
    rounds = [{name: seconds(name, number, images) for name in NAMES} for number in range(ROUNDS)]
    best = {name: min(one[name] for one in rounds) for name in NAMES}
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
