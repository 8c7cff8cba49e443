"""What each training lever brings on this machine: `python -m benchmarks.levers`.

Interleaved rounds in one process, so that a busy moment hits every variant alike; the
median of the per-round ratios against plain float32 is printed. The levers are those
that `lib` chooses by asking the machine: attention written out or fused (see
`lib.transformer`), and bf16 autocast (see `lib.machine`).
"""

import argparse
import statistics
import time
from contextlib import contextmanager

import torch
import torch.nn.functional as F

from lib import transformer
from lib.machine import describe, fast_bf16, resolve_device
from lib.masking import draw
from lib.models import MODELS, build
from lib.optim import Batch, StepSettings
from lib.pixels import Shape
from lib.streams import stream

OPTIONS = {"dim": 192, "depth": 12, "heads": 3, "decoder_dim": 192, "decoder_depth": 4, "decoder_heads": 3}
VARIANTS = {
    "written out, float32": (False, "float32"),
    "fused, float32": (True, "float32"),
    "written out, bf16": (False, "bf16"),
    "fused, bf16": (True, "bf16"),
}


@contextmanager
def fused_attention(wanted: bool):
    """Use torch's fused kernel on the CPU too."""
    original = transformer.Attention.forward

    def forward(self, x):
        mixed = F.scaled_dot_product_attention(*self.queries_keys_values(x))
        return self.project(mixed.transpose(1, 2).flatten(2))

    transformer.Attention.forward = forward if wanted else original
    try:
        yield
    finally:
        transformer.Attention.forward = original


def seconds(fused: bool, precision: str, batch: int, steps: int, device: torch.device) -> float:
    """Time of some training steps of the ViT-MAE on 32x32 images, patch 4."""
    shape = Shape(3, 32, 32, (4, 4))
    model = build("mae", OPTIONS, shape, torch.full((3,), 0.5), torch.full((3,), 0.25), stream(0, "weights")).to(device)
    step = MODELS["mae"].make_step(model, StepSettings(1e-4, 0.05, precision=precision))
    images = torch.rand(batch, 3, 32, 32, generator=stream(0, "images")).to(device)
    mask = draw("random", batch=batch, grid=shape.grid, ratio=0.75, generator=stream(0, "mask")).to(device)
    batch_of = Batch(images, mask, batch, stream(0, "noise"))
    with fused_attention(fused):
        step(batch_of)
        began = time.perf_counter()
        for _ in range(steps):
            loss = step(batch_of)["loss"]
        loss.item()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    device = resolve_device("auto")
    rounds = [{name: seconds(*v, chosen.batch, chosen.steps, device) for name, v in VARIANTS.items()} for _ in range(chosen.rounds)]
    print(", ".join(f"{k} {v}" for k, v in describe(device).items()), "- fast bf16:", fast_bf16(device))
    first = next(iter(VARIANTS))
    for name in VARIANTS:
        ratio = statistics.median(r[first] / r[name] for r in rounds)
        rate = statistics.median(chosen.batch * chosen.steps / r[name] for r in rounds)
        print(f"{name:22} {ratio:5.2f} x   {rate:7.0f} images/s")


if __name__ == "__main__":
    main()
