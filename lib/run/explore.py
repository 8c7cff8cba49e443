"""A corner with sliders, in JupyterLab: what a model makes of a picture as its mask changes.

Picture, strategy, ratio and seed are chosen; what is seen and what the model completes is drawn
anew within a fifth of a second, of pictures of 128 pixels. Everywhere else, on GitHub, in the
report and under papermill, a still picture of the first choice stands in its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import nn

from lib.figures import encoded, mosaic, titled_pictures, veil
from lib.masking import STRATEGIES
from lib.measures import told
from lib.run.progress import in_jupyter
from lib.streams import stream
from lib.windows import Picture, complete, decibels, hidden_pixels, mask_of

RATIOS = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.85, 0.9, 0.95)
USUAL = 0.75  # the ratio to begin with
SEEDS = 20
STRIDE = 4  # patches from one window to the next
WIDTH = 780  # of what is shown, in pixels


@dataclass(frozen=True)
class Sight:
    """A picture under a mask, and what becomes of it."""

    pictures: tuple[Picture, Picture, Picture]  # what is seen, completed, original
    words: str


def explore(
    model: nn.Module,
    pictures: dict[str, Picture],
    strategies: Sequence[str],
    show: Callable[[Figure], None],
) -> None:
    """Sliders where somebody looks, else a still picture.

    pictures   in [0, 1], whole patches, at least as large as the model's images
    show       takes the still picture
    """
    if in_jupyter():
        from IPython.display import display

        display(sliders(model, pictures, strategies))
    else:
        name = next(iter(pictures))
        show(still(model, name, pictures[name], strategies[0]))


def sight(model: nn.Module, picture: Picture, strategy: str, ratio: float, seed: int) -> Sight:
    """What is seen under a mask; of a strategy without this ratio, at the nearest that it has."""
    nearest = STRATEGIES[strategy].nearest(ratio)
    mask = mask_of(model, picture, strategy, nearest, stream(seed, "explore"))
    hidden = hidden_pixels(model, picture, mask)
    completed = complete(model, picture, mask, STRIDE)
    found = told(decibels(picture, completed, hidden))
    words = f"{found} on the hidden {mask.float().mean():.0%}"
    return Sight((veil(picture, hidden), completed, picture), words)


def still(model: nn.Module, name: str, picture: Picture, strategy: str) -> Figure:
    """The picture that stands where there are no sliders."""
    found = sight(model, picture, strategy, USUAL, seed=0)
    titles = (f"{name}, {strategy}", found.words, "original")
    return titled_pictures([list(zip(titles, found.pictures, strict=True))])


def as_png(pictures: Sequence[Picture]) -> bytes:
    """Pictures side by side as a file."""
    return encoded(mosaic(torch.stack(list(pictures)), len(pictures)))


def sliders(model: nn.Module, pictures: dict[str, Picture], strategies: Sequence[str]):
    """The widget: four controls above what they lead to, and a line of words."""
    import ipywidgets as widgets  # here: nobody else needs it, and it takes a quarter of a second

    controls = {
        "picture": widgets.Dropdown(options=list(pictures), description="picture"),
        "strategy": widgets.Dropdown(options=list(strategies), description="strategy"),
        "ratio": widgets.SelectionSlider(options=RATIOS, value=USUAL, description="ratio"),
        "seed": widgets.IntSlider(min=0, max=SEEDS - 1, description="seed"),
    }
    shown = widgets.Image(format="png", width=WIDTH)
    words = widgets.Label()

    def draw(change: object = None) -> None:
        chosen = {name: control.value for name, control in controls.items()}
        found = sight(model, pictures[chosen.pop("picture")], **chosen)
        shown.value = as_png(found.pictures)
        words.value = f"From left: what is seen, completed ({found.words}), original."

    for control in controls.values():
        control.observe(draw, "value")
    draw()
    every = list(controls.values())
    return widgets.VBox([widgets.HBox(every[:2]), widgets.HBox(every[2:]), shown, words])
