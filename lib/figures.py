"""Pictures of arrays and tables; nothing here trains or reads data.

A figure is a function of what it shows. The same method has the same colour in every
notebook (Okabe & Ito's palette, safe for the colour-blind). `publish` saves a figure
under its name `NN-slug` with its alt text and caption beside it, for the report, and
shows it in the notebook as PNG with that alt text.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from lib.paths import resolve

COLOURS = {
    "mae": "#0072B2",
    "autoencoder": "#E69F00",
    "conv_autoencoder": "#D55E00",
    "adversarial": "#CC79A7",
    "pca": "#009E73",
    "biharmonic": "#56B4E9",
    "mean_fill": "#999999",
    "raw_pixels": "#666666",
    "random": "#0072B2",
    "block": "#D55E00",
    "grid": "#009E73",
}
SPARE = ("#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
VEIL = (0.62, 0.72, 0.86)  # of hidden patches in pictures
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.axisbelow": True,
    "figure.dpi": 110,
    "svg.hashsalt": "masked-autoencoder-study",
    "image.interpolation": "nearest",
}


def colour(name: str) -> str:
    """The colour of a method or a strategy, the same everywhere."""
    return COLOURS.get(name) or SPARE[sum(map(ord, name)) % len(SPARE)]


def canvas(rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.4, 3.6), **options):
    """A figure and its axes in the study's style."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", **options)
    return figure, axes


def as_picture(image: Float[Tensor, "channels height width"]) -> np.ndarray:
    """[height, width, channels] in [0, 1] for matplotlib."""
    return image.detach().cpu().float().clamp(0, 1).permute(1, 2, 0).numpy()


def veil(images: Float[Tensor, "count channels height width"], hidden: Tensor) -> Float[Tensor, "count 3 height width"]:
    """Images with hidden pixels painted in one pale blue that is no content, in colour even where the images are grey."""
    paint = torch.tensor(VEIL).reshape(3, 1, 1)
    return torch.where(hidden, paint, images.expand(-1, 3, -1, -1))


def picture_rows(rows: dict[str, Float[Tensor, "count channels height width"]], size: float = 0.85) -> Figure:
    """Images in labelled rows, one column an image."""
    columns = max(len(images) for images in rows.values())
    figure, axes = canvas(len(rows), columns, (size * columns + 1.7, size * len(rows)), squeeze=False)
    for line, (label, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=False):
            axis.imshow(as_picture(image), cmap="gray", vmin=0, vmax=1)
        for axis in line:
            axis.set_axis_off()
        line[0].text(-0.15, 0.5, label, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
    return figure


def lines(
    series: dict[str, tuple[Sequence[float | int], Sequence[float]]], x: str, y: str, names: dict[str, str] | None = None, log_x=False
) -> Figure:
    """Curves with markers; `names` maps a label to the method whose colour it has."""
    figure, axis = canvas(size=(6.4 + 1.4 * (len(series) > 4), 3.6))
    for number, (label, (horizontal, vertical)) in enumerate(series.items()):
        tint = colour((names or {}).get(label, label))
        axis.plot(horizontal, vertical, marker="osD^vP"[number % 6], markersize=5, color=tint, label=label)
    if log_x:
        axis.set_xscale("log", base=2)
        ticks = sorted({value for horizontal, _ in series.values() for value in horizontal})
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set(xlabel=x, ylabel=y)
    if len(series) > 4:  # so many cover the curves
        figure.legend(frameon=False, loc="outside right upper")
    elif len(series) > 1:
        axis.legend(frameon=False)
    return figure


def bars(panels: dict[str, dict[str, tuple[float, float]]], names: dict[str, str] | None = None, units: Sequence[str] = ()) -> Figure:
    """Panels of horizontal bars: label -> (value, half-width of its interval or NaN)."""
    longest = max(len(values) for values in panels.values())
    figure, axes = canvas(1, len(panels), (3.4 * len(panels) + 1.6, 0.36 * longest + 1.0), squeeze=False, sharey=True)
    for number, (axis, (title, values)) in enumerate(zip(axes[0], panels.items(), strict=True)):
        shown = {label: pair if pair[0] is not None else (np.nan, np.nan) for label, pair in values.items()}
        tints = [colour((names or {}).get(label, label)) for label in shown]
        heights, halves = (np.array([pair[i] for pair in shown.values()], dtype=float) for i in (0, 1))
        axis.barh(list(shown), heights, xerr=np.where(halves > 0, halves, np.nan), color=tints, error_kw={"capsize": 3})
        for label, height, half in zip(shown, heights, np.nan_to_num(halves), strict=True):
            if not np.isnan(height):
                end, side = (height + half, "left") if height >= 0 else (height - half, "right")
                axis.text(end, label, f" {height:.3g} ", va="center", ha=side, fontsize=8)
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.18)
        axis.set_title(title, fontsize=10, loc="left")
        if number < len(units):
            axis.set_xlabel(units[number])
    axes[0, 0].invert_yaxis()
    return figure


def scatter(panels: dict[str, tuple[Float[Tensor, "count 2"], Tensor | None]], size: float = 3.0) -> Figure:
    """Points of the plane side by side on one scale a panel, coloured by label."""
    figure, axes = canvas(1, len(panels), (size * len(panels) + 0.6, size), squeeze=False)
    for axis, (title, (points, labels)) in zip(axes[0], panels.items(), strict=True):
        points = points.detach().cpu().numpy()
        tint = {"color": "#444444"} if labels is None else {"c": labels, "cmap": "tab10"}
        drawn = axis.scatter(points[:, 0], points[:, 1], s=5, linewidths=0, **tint)
        axis.set_title(title, fontsize=10)
        axis.set_aspect("equal", adjustable="datalim")
        if labels is not None:
            last = drawn
    if any(labels is not None for _, labels in panels.values()):
        figure.colorbar(last, ax=axes[0].tolist(), label="class", shrink=0.8)
    return figure


def matrix(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], x: str, y: str, unit: str) -> Figure:
    """A table as a heat map with its numbers written in."""
    figure, axis = canvas(size=(1.3 * len(columns) + 2.2, 0.75 * len(rows) + 1.2))
    drawn = axis.imshow(values, cmap="cividis", aspect="auto")
    middle = (np.nanmax(values) + np.nanmin(values)) / 2
    for (row, column), value in np.ndenumerate(values):
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", color="black" if value > middle else "white")
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.set(xlabel=x, ylabel=y)
    axis.grid(visible=False)
    figure.colorbar(drawn, label=unit)
    return figure


def maps(panels: dict[str, np.ndarray], size: float = 1.5, columns: int = 8, cmap: str = "cividis") -> Figure:
    """Small heat maps, each on its own scale."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = canvas(rows, columns, (size * columns, (size + 0.15) * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, values) in zip(axes.flat, panels.items(), strict=False):
        axis.imshow(values, cmap=cmap if np.ndim(values) == 2 else None)
        axis.set_title(title, fontsize=8)
    return figure


def publish(figure: Figure, name: str, alt: str, caption: str, folder: Path | str) -> None:
    """Save as SVG and PNG with alt text and caption beside them, then show it in the notebook."""
    from IPython.display import Image, display

    place = resolve(folder)
    place.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        figure.savefig(place / f"{name}.svg", metadata={"Date": None})
        figure.savefig(place / f"{name}.png", dpi=144)
    (place / f"{name}.json").write_text(json.dumps({"alt": alt, "caption": caption}, indent=1) + "\n")
    plt.close(figure)
    display(Image(place / f"{name}.png", width=figure.get_size_inches()[0] * 100, metadata={"alt": alt}))
