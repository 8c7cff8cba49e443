"""A training as it goes, in JupyterLab: losses that fall, and a reconstruction that sharpens.

One output is updated in place, every two seconds at most. It takes a few kilobytes while it lasts,
a bar, a curve, one strip of pictures; when the training has ended a line of text stands in its
place, so a notebook that is saved stays small. Looking costs the model one pass of eight images.
"""

import html
import time
from collections.abc import Collection, Iterator
from typing import TypeVar

import torch
from torch import nn

from lib.figures import data_address, encoded, mosaic, veil
from lib.patches import pixel_mask
from lib.pixels import unit_range
from lib.run.sheets import filled
from lib.shapes import Bytes, Mask
from lib.training import State

Item = TypeVar("Item")
EVERY = 2.0  # seconds between two looks
WIDTH, HEIGHT = 320, 90  # of the curve, in pixels
TILE = 56  # side of a picture, in pixels
INK = {"loss": "#0072B2", "validation_loss": "#D55E00"}


class LiveView:
    """Shows the states that it is called with; `close` leaves one line."""

    def __init__(self, title: str, sample: tuple[Bytes, Mask] | None = None):
        from IPython.display import HTML, display

        self.title, self.sample = title, sample
        self.began = self.looked = time.monotonic()
        self.last: State | None = None
        self.html = HTML
        self.handle = display(HTML(f"<p>{html.escape(title)}: begun</p>"), display_id=True)

    def __call__(self, state: State) -> None:
        self.last = state
        if time.monotonic() - self.looked > EVERY:
            self.handle.update(self.html(self.drawn(state)))
            self.looked = time.monotonic()

    def close(self) -> None:
        """Leave in words how it went."""
        from IPython.display import Pretty

        words = [f"{self.title}: {time.monotonic() - self.began:.0f} s"]
        if self.last is not None:
            words.append(f"{self.last.step} of {self.last.total} steps")
            words += [
                f"validation loss {row['validation_loss']:.4f}" for row in self.last.history[-1:]
            ]
        self.handle.update(Pretty(", ".join(words)))

    def drawn(self, state: State) -> str:
        """What is seen of a state, as HTML."""
        left = (time.monotonic() - self.began) * (state.total / max(1, state.step) - 1)
        said = f"{self.title}: step {state.step} of {state.total}, about {left:.0f} s more"
        far = f'value="{state.step}" max="{state.total}" style="width:{WIDTH}px"'
        parts = [f"<p>{html.escape(said)}<br><progress {far}></progress></p>", curve(state.history)]
        if self.sample is not None:
            parts.append(strip(state.model, *self.sample))
        return "".join(parts)


def counted(items: Collection[Item], title: str) -> Iterator[Item]:
    """The items one after the other, and a line that says how many are done."""
    from IPython.display import Pretty, display

    began = time.monotonic()
    handle = display(Pretty(f"{title}: 0 of {len(items)}"), display_id=True)
    for done, item in enumerate(items, 1):
        yield item
        seconds = time.monotonic() - began
        handle.update(Pretty(f"{title}: {done} of {len(items)}, {seconds:.0f} s"))


def curve(history: list[dict[str, float | int]]) -> str:
    """Training and validation loss so far, as SVG with its legend; empty before two points."""
    if len(history) < 2:
        return ""
    every = [row[name] for row in history for name in INK]
    low, high = min(every), max(every)
    steps = [row["step"] for row in history]
    lines = []
    for name, ink in INK.items():
        across = [WIDTH * (s - steps[0]) / (steps[-1] - steps[0]) for s in steps]
        down = [HEIGHT * (high - row[name]) / (high - low or 1) for row in history]
        points = " ".join(f"{x:.0f},{y:.0f}" for x, y in zip(across, down, strict=True))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{ink}" stroke-width="2"/>')
    legend = ", ".join(
        f'<span style="color:{ink}">{name.replace("_", " ")} {history[-1][name]:.3f}</span>'
        for name, ink in INK.items()
    )
    box = f'width="{WIDTH}" height="{HEIGHT}" style="overflow:visible;margin:6px" role="img"'
    return f"<svg {box}>{''.join(lines)}</svg><p>{legend}</p>"


def strip(model: nn.Module, images: Bytes, mask: Mask) -> str:
    """What is seen of images and, below it, what the model makes of them now."""
    truth = unit_range(images)
    shape = model.space.shape
    hidden = pixel_mask(mask, shape.patch, shape.grid)
    training = model.training  # which it goes on with
    model.eval()
    try:
        made = filled(model, images, mask, model.space.mean.device)
    finally:
        model.train(training)
    both = mosaic(torch.cat([veil(truth, hidden), made.expand(-1, 3, -1, -1)]), len(truth))
    style = f"width:{TILE * len(truth)}px;image-rendering:pixelated"
    about = f'alt="Images as they are seen, and completed." style="{style}"'
    return f'<img {about} src="{data_address(encoded(both), "png")}">'
