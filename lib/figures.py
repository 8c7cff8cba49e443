"""Pictures of arrays and tables; nothing here trains or reads data.

A figure is a function of what it shows. The same method has the same colour in every notebook
(Okabe & Ito's palette, safe for the colour-blind). `publish` saves a figure under its name
`NN-slug` with its alt text and caption beside it, for the report, and shows it in the notebook as
PNG with that alt text. Images are [channels, height, width] in [0, 1].
"""

import base64
import io
import json
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
from PIL import Image
from torch import Tensor

from lib.files import resolve, write_json
from lib.pixels import check_unit_range
from lib.shapes import Pixels
from lib.statistics import means

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
    "grid": "#882255",
    "red_noise": "#CC6677",
    "blue_noise": "#332288",
    "green_noise": "#117733",
    "purple_noise": "#AA4499",
    "units": "#000000",
    "masked": "#0072B2",
    "masked, frozen": "#66AAD3",
    "not masked": "#D55E00",
    "not masked, frozen": "#E8A070",
    "scratch": "#999933",
    "scratch, longer": "#555522",
    "pixels, linear": "#666666",
    "pixels, nearest": "#999999",
}
SPARE = ("#CC79A7", "#E69F00", "#56B4E9", "#999933", "#000000")
MARKERS = "osD^vP"  # so that curves differ in print, too
LARGE = 150_000  # bytes of a PNG beyond which JPEG is tried,
WORTH = 2 / 3  # and taken where it has at most this share of them
MANY = 4  # labels beyond which a legend would cover the curves
CROWD = 12  # rows beyond which a heat map has small cells
VEIL = (0.62, 0.72, 0.86)  # of hidden patches in pictures
PALE = 0.45  # opacity of a control's bar, which has its method's colour
EDGE = [patheffects.withStroke(linewidth=3, foreground="white")]
NAMED_CLASS = {"fontsize": 13, "fontweight": "bold", "ha": "center", "va": "center"}
NAMED_CLASS |= {"path_effects": EDGE}  # the number of a class among its points
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

Interval = tuple[float, float, float]  # value, half-width, half-width of the joint interval
Point = tuple[float, float, float]  # horizontal, vertical, half-width of the latter's interval
Bars = dict[str, tuple[float | None, float | None]]  # label -> (value, half-width or NaN)


def colour(name: str) -> str:
    """The colour of a method or a strategy, the same everywhere."""
    return COLOURS.get(name) or SPARE[sum(map(ord, name)) % len(SPARE)]


def canvas(rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.4, 3.6), **options):
    """A figure and its axes in the study's style; `options` go to matplotlib's `subplots`."""
    with plt.rc_context(STYLE):
        return plt.subplots(rows, columns, figsize=size, layout="constrained", **options)


def as_picture(
    image: Float[Tensor, "channels height width"],
) -> Float[np.ndarray, "height width channels"]:
    """An image as matplotlib wants it. Raises TypeError for bytes."""
    check_unit_range(image)
    return image.detach().cpu().float().clamp(0, 1).permute(1, 2, 0).numpy()


def encoded(
    image: Float[Tensor, "channels height width"], kind: str = "png", **options: int
) -> bytes:
    """An image as a file; `options` go to Pillow."""
    file = io.BytesIO()
    pixels = (as_picture(image) * 255).round().astype("uint8")
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def data_address(content: bytes, kind: str) -> str:
    """A picture's file as what stands in a page instead of its address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def veil(
    images: Float[Tensor, "*batch channels height width"],
    hidden: Bool[Tensor, "*places height width"],
) -> Float[Tensor, "*batch 3 height width"]:
    """Images, or a single one, with hidden pixels painted in one pale blue that is no content.

    In colour even where the images are grey.
    """
    return torch.where(hidden, torch.tensor(VEIL).reshape(3, 1, 1), images)


def picture_rows(rows: dict[str, Pixels]) -> Figure:
    """Images in labelled rows, one column an image."""
    size = 0.85  # of an image, in inches
    columns = max(len(images) for images in rows.values())
    names = 0.4 + 0.07 * max(map(len, rows))
    whole = (size * columns + names, size * len(rows))
    figure, axes = canvas(len(rows), columns, whole, squeeze=False)
    for line, (label, images) in zip(axes, rows.items(), strict=True):
        for axis in line[len(images) :]:
            axis.set_axis_off()
        for axis, image in zip(line, images, strict=False):
            draw_picture(axis, image)
        beside = {"transform": line[0].transAxes, "ha": "right", "va": "center"}
        line[0].text(-0.15, 0.5, label, fontsize=9, **beside)
    return figure


def draw_picture(axis: Axes, image: Float[Tensor, "channels height width"]) -> None:
    """An image in a thin frame, without which a white one has no edge."""
    axis.imshow(as_picture(image), cmap="gray", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(visible=True, color="#BBBBBB", linewidth=0.5)


def mosaic(images: Pixels, columns: int) -> Float[Tensor, "channels all_rows all_columns"]:
    """Images side by side in one picture, row by row."""
    rows = [torch.cat(list(row), dim=2) for row in images.split(columns)]
    return torch.cat(rows, dim=1)


def titled_pictures(
    rows: Sequence[Sequence[tuple[str, Float[Tensor, "channels height width"]]]], size: float = 2.4
) -> Figure:
    """Rows of pictures, each with its own title above it; `size` of each in inches.

    Titles are all of one size, at which the longest is no wider than its place.
    """
    columns = max(len(row) for row in rows)
    points = min(fitting(title, 0.95 * 72 * size) for row in rows for title, _ in row)
    tallest = [max(image.shape[1] / image.shape[2] for _, image in row) for row in rows]
    heights = [size * side + 0.3 for side in tallest]
    whole = (size * columns, sum(heights))
    grid = {"height_ratios": heights}
    figure, axes = canvas(len(rows), columns, whole, squeeze=False, gridspec_kw=grid)
    for line, row in zip(axes, rows, strict=True):
        for axis in line[len(row) :]:
            axis.set_axis_off()
        for axis, (title, image) in zip(line, row, strict=False):
            draw_picture(axis, image)
            axis.set_anchor("N")  # titles of a row stand side by side, whatever lies below
            axis.set_title(title, fontsize=points, parse_math=False)
    return figure


def fitting(title: str, width: float, largest: float = 9.0) -> float:
    """The size of a title's letters at which it is no wider than `width`; all in points."""
    letters = title.replace("$", "S").strip() or "I"  # $ would begin a formula
    wide = TextPath((0, 0), letters, size=largest).get_extents().width
    return largest * width / max(width, wide)


def diagram(*chains: Sequence[tuple[str, str]], size: float = 1.35) -> Figure:
    """Boxes from left to right with arrows between them, a row for each chain.

    chains   (what, its shape) for each box; an empty name leaves its place free
    size     of a box and its arrow in inches
    """
    longest = max(len(chain) for chain in chains)
    figure, axis = canvas(size=(size * longest, 0.95 * len(chains)))
    axis.set_axis_off()
    for row, chain in enumerate(chains):
        for column, (what, shape) in enumerate(chain):
            if not what:
                continue
            box = {"boxstyle": "round,pad=0.45", "facecolor": "#EAF1F8", "edgecolor": "#0072B2"}
            axis.text(column, -row, what, ha="center", va="center", fontsize=9, bbox=box)
            axis.text(column, -row - 0.38, shape, ha="center", va="top", fontsize=8)
            if column and chain[column - 1][0]:
                ends = {"xy": (column - 0.33, -row), "xytext": (column - 0.67, -row)}
                axis.annotate("", **ends, arrowprops={"arrowstyle": "->", "color": "#444444"})
    axis.set(xlim=(-0.5, longest - 0.5), ylim=(-len(chains) + 0.3, 0.4))
    return figure


def lines(
    series: dict[str, tuple[Sequence[float | int], Sequence[float]]],
    x: str,
    y: str,
    names: dict[str, str] | None = None,
    log_x: bool = False,
) -> Figure:
    """Curves with markers; the second of a colour, such as a method's control, is dashed.

    series   label -> (horizontal, vertical)
    names    label -> the method whose colour it has, where that is not the label itself
    """
    drawn: list[str] = []
    many = len(series) > MANY
    figure, axis = canvas(size=(7.8 if many else 6.4, 3.6))
    for (label, (horizontal, vertical)), marker in zip(
        series.items(), cycle(MARKERS), strict=False
    ):
        tint = tint_of(label, names)
        stroke = {"marker": marker, "markersize": 5, "linestyle": "--" if tint in drawn else "-"}
        drawn.append(tint)
        axis.plot(horizontal, vertical, color=tint, label=label, **stroke)
    if log_x:
        name_powers(axis, [horizontal for horizontal, _ in series.values()])
    axis.set(xlabel=x, ylabel=y)
    if len(series) > 1:
        name_curves(figure, axis, many)
    return figure


def name_curves(figure: Figure, axis: Axes, many: bool, title: str | None = None) -> None:
    """A legend, beside the curves where it would cover them."""
    if many:
        figure.legend(frameon=False, loc="outside right upper", title=title)
    else:
        axis.legend(frameon=False, title=title)


def tint_of(label: str, names: dict[str, str] | None) -> str:
    return colour((names or {}).get(label, label))


def name_powers(axis: Axes, values: list[Sequence[float | int]]) -> None:
    """A horizontal axis of powers of two, each value named as it is."""
    axis.set_xscale("log", base=2)
    ticks = sorted({value for some in values for value in some})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


def curves(
    table: pd.DataFrame, measure: str, x: str, by: str, split: str = "test", log_x: bool = False
) -> Figure:
    """A measure against the column `x`, a curve for each value of `by`.

    Means over seeds with 95 % intervals, from a tidy table (see `statistics.means`, whose errors
    it raises).
    """
    rows = means(table, measure, [by, x], split)
    groups = rows.groupby(by, sort=False)
    many = len(groups) > MANY
    figure, axis = canvas(size=(7.8, 4.4) if many else (6.4, 3.6))
    for number, ((name, part), marker) in enumerate(zip(groups, cycle(MARKERS), strict=False)):
        axis.errorbar(
            aside(part[x], number, rows[x], log_x),
            part["mean"],
            part["half_width"],
            capsize=3,
            marker=marker,
            color=colour(str(name)),
            label=str(name),
        )
    if log_x:
        name_powers(axis, [rows[x].tolist()])
    axis.set(xlabel=x, ylabel=f"{measure} on {split} images")
    name_curves(figure, axis, many, title=by)
    return figure


def aside(places: pd.Series, number: int, every: pd.Series, log_x: bool) -> pd.Series:
    """Where one curve of several is drawn: a little aside, so that intervals can be told apart."""
    if log_x:
        return places * (every.max() / every.min()) ** (number / 100)
    return places + number * (every.max() - every.min()) / 60


def bars(
    panels: dict[str, Bars],
    names: dict[str, str] | None = None,
    units: Sequence[str] = (),
    controls: Sequence[str] = (),
) -> Figure:
    """Panels of horizontal bars with the labels of the first, on one scale where units are alike.

    panels     title -> label -> (value, half-width of its interval or NaN); None is no bar
    names      label -> the method whose colour it has, where that is not the label itself
    units      of the panels, in their order
    controls   labels whose bars are pale
    """
    longest = max(len(values) for values in panels.values())
    whole = (3.4 * len(panels) + 1.6, 0.36 * longest + 1.0)
    figure, axes = canvas(1, len(panels), whole, squeeze=False, sharey=True)
    for axis, (title, values) in zip(axes[0], panels.items(), strict=True):
        draw_bars(axis, values, names, controls)
        axis.set_title(title, fontsize=10, loc="left")
    for axis, unit in zip(axes[0], units, strict=False):
        axis.set_xlabel(unit)
    share_scales(list(axes[0]), units)
    axes[0, 0].invert_yaxis()
    return figure


def share_scales(axes: Sequence[Axes], units: Sequence[str]) -> None:
    """One horizontal scale for all axes of a unit, so that lengths can be compared."""
    first: dict[str, Axes] = {}
    for axis, unit in zip(axes, units, strict=False):
        if first.setdefault(unit, axis) is not axis:
            axis.sharex(first[unit])
            first[unit].autoscale(axis="x")


def draw_bars(
    axis: Axes, values: Bars, names: dict[str, str] | None, controls: Sequence[str]
) -> None:
    """Bars with their intervals, the value written at the end of each."""
    lengths = np.array([pair[0] for pair in values.values()], dtype=float)  # None becomes NaN
    halves = np.array([pair[1] for pair in values.values()], dtype=float)
    strong = [1.0 if label not in controls else PALE for label in values]
    axis.barh(
        list(values),
        lengths,
        xerr=np.where(halves > 0, halves, np.nan),
        color=[to_rgba(tint_of(label, names), a) for label, a in zip(values, strong, strict=True)],
        error_kw={"capsize": 3},
    )
    for label, length, half in zip(values, lengths, np.nan_to_num(halves), strict=True):
        if np.isnan(length):
            continue
        right = length >= 0
        end = length + half if right else length - half
        side = "left" if right else "right"
        shown = f" {length:.3f} " if abs(length) < 1 else f" {length:.3g} "
        axis.text(end, label, shown, va="center", ha=side, fontsize=8)
    if np.isnan(lengths).all():
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", va="center")
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.18)


def scatter(
    panels: dict[str, tuple[Float[Tensor, "count 2"], Tensor | None]],
    beneath: dict[str, Float[Tensor, "other 2"]] | None = None,
    size: float = 3.0,
) -> Figure:
    """Points of the plane side by side, all on the same axes, coloured by label if any.

    beneath   title -> points that are drawn in grey below the others

    The number of a class stands where the middle of its points is.
    """
    every = torch.cat([points.detach().cpu() for points, _ in panels.values()])
    reach = 1.05 * float(every.abs().max())
    figure, axes = canvas(1, len(panels), (size * len(panels) + 0.6, size), squeeze=False)
    for axis, (title, (points, labels)) in zip(axes[0], panels.items(), strict=True):
        if title in (beneath or {}):
            axis.scatter(*beneath[title].T, s=5, linewidths=0, color="#AAAAAA", rasterized=True)
        across, up = points.detach().cpu().numpy().T
        shades = "#444444" if labels is None else [f"C{label % 10}" for label in labels.tolist()]
        axis.scatter(across, up, s=5, linewidths=0, color=shades, rasterized=True)
        for label in [] if labels is None else labels.unique().tolist():
            middle = np.median(points.detach().cpu()[labels == label].numpy(), axis=0)
            axis.text(*middle, label, color=f"C{label % 10}", **NAMED_CLASS)
        axis.set_title(title, fontsize=10)
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="code 1")
    axes[0, 0].set_ylabel("code 2")
    return figure


def matrix(
    values: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    x: str,
    y: str,
    unit: str,
    reach: float | None = None,
) -> Figure:
    """A table as a heat map with its numbers written in; small ones where there are many.

    reach   of differences: how far from zero, to either side, colours go on to change; the highest
        values of each row, as they are written, are framed
    """
    many = len(rows) > CROWD
    width, height, ink_size = (0.62, 0.26, 8) if many else (1.3, 0.75, 10)
    below = 1.7 if many else 1.2  # of names that stand aslant
    figure, axis = canvas(size=(width * len(columns) + 3.4, height * len(rows) + below))
    colours = {"cmap": "cividis"}
    if reach is not None:
        colours = {"cmap": "RdBu", "vmin": -reach, "vmax": reach}
    drawn = axis.imshow(values, aspect="auto", **colours)
    for (row, column), value in np.ndenumerate(values):
        light = luminance(drawn.to_rgba(value)) > 0.5
        ink = {"color": "black" if light else "white", "fontsize": ink_size}
        shown = round(value, 2) + 0.0  # no -0
        axis.text(column, row, f"{shown:.2f}", ha="center", va="center", **ink)
    if reach is not None:
        frame = {"fill": False, "edgecolor": "black", "linewidth": 1.2}
        written = values.round(2)
        for row, column in np.argwhere(written == written.max(axis=1, keepdims=True)):
            axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **frame))
    aslant = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if many else {}
    axis.set_xticks(range(len(columns)), columns, **aslant)
    axis.set_yticks(range(len(rows)), rows)
    axis.set(xlabel=x, ylabel=y)
    axis.grid(visible=False)
    figure.colorbar(drawn, label=unit, extend="neither" if reach is None else "both")
    return figure


def luminance(rgba: tuple[float, ...]) -> float:
    """How light a colour is, from 0 to 1."""
    return float(np.dot(rgba[:3], (0.2126, 0.7152, 0.0722)))


def ranking(
    panels: dict[str, dict[str, Interval]],
    units: Sequence[str],
    zero: str = "",
) -> Figure:
    """Values with their intervals, a row for each label in the order of the first panel.

    panels   title -> label -> (value, half-width, half-width of the joint interval)
    units    of the panels, in their order
    zero     what a value of 0 stands for, marked by a line

    Thick: a label's own interval; thin: one that all labels keep together; none for NaN.
    """
    labels = list(next(iter(panels.values())))
    whole = (2.6 * len(panels) + 1.6, 0.24 * len(labels) + 1.2)
    figure, axes = canvas(1, len(panels), whole, squeeze=False, sharey=True)
    places = np.arange(len(labels))
    for axis, (title, values), unit in zip(axes[0], panels.items(), units, strict=True):
        if zero:
            axis.axvline(0, color="#444444", linewidth=1)
        rows = np.array([values.get(label, (np.nan,) * 3) for label in labels], dtype=float)
        value, own, joint = rows.T
        tint = {"color": "#0072B2", "fmt": "none"}
        axis.plot(value, places, "o", color="#0072B2", markersize=4, markerfacecolor="white")
        axis.errorbar(value, places, xerr=joint, elinewidth=1, **tint)
        axis.errorbar(value, places, xerr=own, elinewidth=3, **tint)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel(f"{unit}, {zero} = 0" if zero else unit)
        axis.locator_params(axis="x", nbins=4)  # panels are narrow
    share_scales(list(axes[0]), units)
    axes[0, 0].set_yticks(places, labels)
    axes[0, 0].set_ylim(len(labels) - 0.5, -0.5)
    return figure


def named_points(panels: dict[str, dict[str, Point]], x: str, units: Sequence[str]) -> Figure:
    """Points side by side, each with its name beside it, over one horizontal axis.

    panels   title -> name -> (horizontal, vertical, half-width of the latter's interval or NaN)
    units    of the panels' vertical axes, in their order
    """
    whole = (5.4 * len(panels), 5.0)
    figure, axes = canvas(1, len(panels), whole, squeeze=False)
    for axis, (title, points), unit in zip(axes[0], panels.items(), units, strict=True):
        every = [place for *place, _ in points.values()]
        for name, (*place, half) in points.items():
            axis.errorbar(*place, yerr=half, fmt="o", markersize=5, color="#0072B2", elinewidth=1)
            left = is_followed(place, every)
            beside = {"xytext": (-5 if left else 5, 2), "textcoords": "offset points"}
            beside |= {"ha": "right" if left else "left", "fontsize": 8}
            axis.annotate(name, place, **beside)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set(xlabel=x, ylabel=unit)
        axis.margins(x=0.3)  # of names
    return figure


def is_followed(place: Sequence[float], every: list[Sequence[float]]) -> bool:
    """Whether a name to the right of a point would lie on another point."""
    reach = np.ptp(np.array(every), axis=0)
    across, up = (np.array(every) - place).T / np.where(reach > 0, reach, 1)[:, None]
    return bool(((across > 0) & (across < 0.15) & (np.abs(up) < 0.04)).any())


def maps(panels: dict[str, np.ndarray], size: float = 1.5, columns: int = 8) -> Figure:
    """Small heat maps, each on its own scale; an array with three axes is a picture in colour."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = canvas(rows, columns, (size * columns, (size + 0.15) * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, values) in zip(axes.flat, panels.items(), strict=False):
        axis.imshow(values, cmap="cividis" if np.ndim(values) == 2 else None)
        axis.set_title(title, fontsize=8, parse_math=False)
    return figure


def publish(figure: Figure, name: str, alt: str, caption: str, folder: Path | str) -> None:
    """Save a figure with its alt text and caption beside it, then show it with its caption.

    As SVG, and as PNG; a large one, of photographs, as JPEG instead, where that is smaller by far,
    with a WebP for pages, which takes six tenths of it and which not every notebook viewer shows.
    """
    # Here, since nobody outside a notebook needs it, and it costs half a second.
    from IPython import display

    place = resolve(folder)
    place.mkdir(parents=True, exist_ok=True)
    for end in (".jpg", ".webp"):  # of an earlier run, when it was large
        (place / f"{name}{end}").unlink(missing_ok=True)
    with plt.rc_context(STYLE):
        figure.savefig(place / f"{name}.svg", metadata={"Date": None})
        shown = place / f"{name}.png"
        figure.savefig(shown, dpi=144)
        if shown.stat().st_size > LARGE:
            other = shown.with_suffix(".jpg")
            figure.savefig(other, dpi=144, pil_kwargs={"quality": 80})
            taken = other.stat().st_size <= WORTH * shown.stat().st_size
            (shown if taken else other).unlink()
            if taken:
                shown = other
                figure.savefig(place / f"{name}.webp", dpi=144, pil_kwargs={"quality": 80})
    write_json(place / f"{name}.json", {"alt": alt, "caption": caption})
    plt.close(figure)
    width = figure.get_size_inches()[0] * 100
    display.display(display.Image(shown, width=width, metadata={"alt": alt}))
    display.display(display.Markdown(f"*{caption}*"))


def saved(about: Path) -> dict[str, str]:
    """What `publish` has saved, by its file of texts: name, alt, caption, source.

    The source is a data address: of the WebP where there is one, of photographs; else of the SVG,
    or of the PNG where pictures inside of the SVG make it the larger of the two.
    """
    kinds = {".webp": "webp", ".svg": "svg+xml", ".png": "png"}
    drawn = {end: about.with_suffix(end) for end in kinds if about.with_suffix(end).exists()}
    lines = ".webp" not in drawn and b"<image" not in drawn[".svg"].read_bytes()
    end = ".svg" if lines else min(drawn, key=lambda one: drawn[one].stat().st_size)
    source = data_address(drawn[end].read_bytes(), kinds[end])
    return json.loads(about.read_text()) | {"name": about.stem, "source": source}
