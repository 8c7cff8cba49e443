"""Figures show what they are given, in one style, and are saved with their texts."""

import json
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from skimage.data import astronaut

from lib import figures
from lib.masking import STRATEGIES
from lib.models.family import MODELS


@pytest.fixture(autouse=True)
def closed():
    """No figure of a test is left to the next."""
    yield
    plt.close("all")


def rows():
    return figures.picture_rows({"a": torch.rand(3, 1, 8, 8), "b": torch.rand(2, 3, 8, 8)})


def lines():
    series = {"mae": ([1, 2, 4], [1.0, 2.0, 3.0])}
    return figures.lines(series, "x [unit]", "y [unit]", log_x=True)


def bars():
    one = {"a": (0.5, 0.1), "b": (None, None)}
    return figures.bars({"one": one, "two": {"a": (0.7, float("nan")), "b": (0.1, 0.2)}})


def ranking():
    one = {"a": (0.5, 0.1, 0.2), "b": (-0.5, float("nan"), float("nan"))}
    return figures.ranking({"one": one, "two": {"a": (0.1, 0.1, 0.1)}}, ["dB", "share"], "random")


def named_points():
    one = {"a": (1.0, 2.0, 0.5), "b": (2.0, 1.0, math.nan)}
    return figures.named_points({"one": one}, "x [unit]", ["dB"])


def scatter():
    return figures.scatter(
        {"a": (torch.rand(9, 2), torch.arange(9)), "b": (torch.rand(9, 2), None)}
    )


def matrix():
    values = np.arange(6.0).reshape(2, 3)
    return figures.matrix(values, ["a", "b"], ["c", "d", "e"], "x", "y", "dB")


def maps():
    return figures.maps({str(i): np.eye(4) for i in range(9)})


def tidy():
    """Three seeds of two strategies at two ratios: means 10 and 20, and 1 more for block."""
    made = [
        {"strategy": name, "ratio": ratio, "seed": seed, "value": 10 * ratio + bonus + seed - 1}
        for name, bonus in (("random", 0), ("block", 1))
        for ratio in (1, 2)
        for seed in range(3)
    ]
    return pd.DataFrame(made).assign(split="test", measure="accuracy")


def curves():
    return figures.curves(tidy(), "accuracy", x="ratio", by="strategy")


EVERY = (rows, lines, bars, scatter, matrix, maps, curves, ranking, named_points)
DRAWN = {made.__name__: made for made in EVERY}


@pytest.mark.parametrize("kind", DRAWN)
def test_a_figure_is_saved_with_its_texts(kind, tmp_path):
    figures.publish(DRAWN[kind](), "09-test", "An alternative text.", "A caption.", tmp_path)
    texts = json.loads((tmp_path / "09-test.json").read_text())
    assert texts == {"alt": "An alternative text.", "caption": "A caption."}
    assert (tmp_path / "09-test.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in (tmp_path / "09-test.svg").read_bytes()
    assert not plt.get_fignums(), "no figure is left open"


def test_a_figure_that_was_large_leaves_no_jpeg_behind(tmp_path):
    for end in ("jpg", "webp"):
        (tmp_path / f"09-test.{end}").write_bytes(b"of an earlier run")
    figures.publish(lines(), "09-test", "An alternative text.", "A caption.", tmp_path)
    found = figures.saved(tmp_path / "09-test.json")
    assert found["source"].startswith("data:image/svg+xml;base64,")
    assert (found["name"], found["caption"]) == ("09-test", "A caption.")


def test_pictures_do_not_go_to_the_page_in_the_larger_form(tmp_path):
    """An SVG holds what is in it uncompressed almost: a page of them is too large for a mail."""
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    figures.publish(figures.picture_rows({"noise": images}), "09-test", "a", "c", tmp_path)
    svg, png = (tmp_path / f"09-test.{kind}" for kind in ("svg", "png"))
    assert svg.stat().st_size > png.stat().st_size
    found = figures.saved(tmp_path / "09-test.json")
    assert found["source"].startswith("data:image/png;base64,")


def test_a_large_figure_that_jpeg_makes_hardly_smaller_stays_sharp(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "LARGE", 0)
    figures.publish(lines(), "09-lines", "a", "c", tmp_path)
    assert (tmp_path / "09-lines.png").exists() and not (tmp_path / "09-lines.jpg").exists()


def test_a_large_figure_is_a_jpeg(tmp_path):
    """Photographs would take megabytes as PNG, in the notebook, too."""
    photograph = torch.from_numpy(astronaut()).movedim(-1, 0) / 255
    drawn = figures.titled_pictures([[("an astronaut", photograph)]], size=6.0)
    figures.publish(drawn, "09-large", "a", "c", tmp_path)
    assert (tmp_path / "09-large.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert not (tmp_path / "09-large.png").exists()
    small = (tmp_path / "09-large.webp").read_bytes()
    assert len(small) < 0.8 * (tmp_path / "09-large.jpg").stat().st_size
    assert figures.saved(tmp_path / "09-large.json")["source"] == figures.data_address(
        small, "webp"
    )


@pytest.mark.parametrize("title", ["inpainting, red_noise: 19.6 dB", "w$" * 12, "cat", "", " "])
def test_no_title_is_wider_than_its_place(title):
    shown = torch.rand(3, 16, 8, generator=torch.Generator().manual_seed(0))
    drawn = figures.titled_pictures([[(title, shown), ("beside", shown)]], size=1.6)
    drawn.draw_without_rendering()
    wide = drawn.axes[0].title.get_window_extent().width / drawn.dpi
    assert wide < 1.6
    assert (drawn.axes[1].title.get_fontsize() == 9) == (len(title) < 5), "all of one size"


def test_the_same_figure_is_the_same_svg(tmp_path):
    for name in ("first", "second"):
        figures.publish(lines(), name, "a", "c", tmp_path)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_every_family_and_strategy_has_a_colour():
    for name in [*MODELS, *STRATEGIES, "something new"]:
        assert figures.colour(name).startswith("#")


def test_the_veil_covers_hidden_pixels_only():
    images, hidden = torch.rand(2, 1, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    hidden[:, :, :2] = True
    veiled = figures.veil(images, hidden)
    assert veiled.shape == (2, 3, 4, 4)
    assert torch.equal(figures.veil(images[0], hidden[0, 0]), veiled[0])
    assert torch.equal(veiled[:, :, 2:], images[:, :, 2:].expand(-1, 3, -1, -1))
    assert torch.allclose(veiled[:, :, 0, 0], torch.tensor(figures.VEIL).expand(2, 3))


def test_pictures_are_shown_in_their_rows_without_stretching_their_contrast():
    images = torch.full((2, 1, 4, 4), 0.25)
    figure = figures.picture_rows({"first": images, "second": images[:1]})
    shown = [axis.images for axis in figure.axes]
    assert [len(pictures) for pictures in shown] == [1, 1, 1, 0]
    assert shown[0][0].get_clim() == (0, 1)
    assert np.allclose(shown[0][0].get_array(), 0.25)
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert texts == ["first", "second"]


def test_curves_go_through_the_means_with_their_intervals():
    axis = curves().axes[0]
    found = {box.get_label(): box for box in axis.containers}
    assert set(found) == {"random", "block"}
    for name, expected in (("random", [10, 20]), ("block", [11, 21])):
        line, _, (bar,) = found[name].lines
        assert line.get_ydata().tolist() == expected
        assert line.get_color() == figures.colour(name)
        low, high = bar.get_segments()[0][:, 1]
        assert (high - low) / 2 == pytest.approx(4.30265 / 3**0.5, rel=1e-4)
    assert axis.get_xlabel() == "ratio" and axis.get_ylabel() == "accuracy on test images"


def test_curves_on_a_logarithmic_axis_stay_apart_and_near_their_place():
    axis = figures.curves(tidy(), "accuracy", "ratio", "strategy", log_x=True).axes[0]
    first, second = (box.lines[0].get_xdata() for box in axis.containers)
    assert axis.get_xscale() == "log"
    assert np.allclose(second / first, second[0] / first[0]) and 1 < second[0] / first[0] < 1.1


def test_a_ranking_shows_each_value_and_both_of_its_intervals():
    left, right = ranking().axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["a", "b"]
    (dots,) = [line for line in left.lines if line.get_marker() == "o"]
    assert dots.get_xdata().tolist() == [0.5, -0.5]
    reaches = []
    for box in left.containers:
        low, high = box.lines[2][0].get_segments()[0][:, 0]
        reaches.append((low, high))
    assert reaches == [pytest.approx((0.3, 0.7)), pytest.approx((0.4, 0.6))]
    assert left.get_xlabel() == "dB, random = 0"
    missing = next(line.get_xdata() for line in right.lines if line.get_marker() == "o")
    assert missing[0] == 0.1 and np.isnan(missing[1]), "what a panel lacks is no dot"


def test_a_crowded_heat_map_has_all_its_numbers_in_small():
    values = np.arange(60.0).reshape(20, 3)
    axis = figures.matrix(values, [str(i) for i in range(20)], list("abc"), "x", "y", "dB").axes[0]
    assert len(axis.texts) == 60 and axis.texts[-1].get_text() == "59.00"
    assert axis.texts[0].get_fontsize() == 8
    assert axis.get_xticklabels()[0].get_rotation() == 35


def test_a_name_stands_on_the_side_where_no_point_is_near():
    """Of two points beside each other the left one's would cover the other."""
    places = {"a": (0.0, 1.0, 0.1), "b": (0.1, 1.0, 0.1), "c": (1.0, 0.0, math.nan)}
    axis = figures.named_points({"one": places}, "x", ["dB"]).axes[0]
    reach = [box.lines[2][0].get_segments() for box in axis.containers]
    assert [float(np.ptp(bar[0][:, 1])) for bar in reach[:2]] == [pytest.approx(0.2)] * 2
    names = axis.texts
    assert [name.get_ha() for name in names] == ["right", "left", "left"]


def test_a_heat_map_of_differences_is_white_at_zero_and_frames_the_best_of_each_row():
    """Both of two that are written alike."""
    values = np.array([[0.0, 0.5], [0.0, -3.0], [0.0, -0.004]])
    axis = figures.matrix(values, ["c", "d", "e"], ["a", "b"], "x", "y", "dB", reach=1.0).axes[0]
    assert min(axis.images[0].to_rgba(0.0)[:3]) > 0.95
    framed = [(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in axis.patches]
    assert framed == [(1, 0), (0, 1), (0, 2), (1, 2)]
    assert [text.get_text() for text in axis.texts[1::2]] == ["0.50", "-3.00", "0.00"]


def test_curves_of_the_other_split_and_of_nothing():
    both = pd.concat([tidy(), tidy().assign(split="validation", value=5.0)])
    axis = figures.curves(both, "accuracy", "ratio", "strategy", split="validation").axes[0]
    assert axis.containers[0].lines[0].get_ydata().tolist() == [5, 5]
    with pytest.raises(ValueError, match="no 'speed'"):
        figures.curves(tidy(), "speed", "ratio", "strategy")


def test_one_run_has_a_curve_and_no_interval():
    alone = tidy().query("seed == 1")
    box = figures.curves(alone, "accuracy", "ratio", "strategy").axes[0].containers[0]
    line, _, (bar,) = box.lines
    assert np.isfinite(line.get_ydata(orig=False)).all()
    assert not any(len(segment) for segment in bar.get_segments())


def test_bars_say_their_numbers_and_what_has_none_is_no_bar():
    figure = figures.bars({"one": {"mae": (0.512, 0.1), "b": (None, None), "c": (-0.25, 0.0)}})
    axis = figure.axes[0]
    assert [bar.get_width() for bar in axis.patches][::2] == [0.512, -0.25]
    assert [text.get_text().strip() for text in axis.texts] == ["0.512", "-0.250"]
    assert [text.get_position()[0] for text in axis.texts] == [pytest.approx(0.612), -0.25]


def test_panels_of_one_unit_have_one_scale_and_controls_are_pale():
    panels = {"one": {"mae": (0.5, 0.1)}, "two": {"mae": (0.2, 0.1)}}
    axes = figures.bars(panels, units=["accuracy"] * 2, controls=["mae"]).axes
    assert axes[0].get_xlim() == axes[1].get_xlim() and axes[0].get_xlim()[1] > 0.6
    assert axes[0].patches[0].get_facecolor()[3] == figures.PALE
    other = figures.bars(panels, units=["accuracy", "dB"]).axes
    assert (
        other[0].get_xlim() != other[1].get_xlim() and other[0].patches[0].get_facecolor()[3] == 1
    )


def test_a_class_is_named_in_the_middle_of_its_points_and_in_their_colour():
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 2.0], [-1.0, -1.0]])
    drawn = figures.scatter({"a": (points, torch.tensor([3, 3, 3, 7]))}, {"a": points[:2]}).axes[0]
    assert [(text.get_text(), text.get_position()) for text in drawn.texts] == [
        ("3", (0.5, 1.0)),
        ("7", (-1.0, -1.0)),
    ]
    beneath, above = drawn.collections
    assert len(beneath.get_offsets()) == 2 and len(above.get_offsets()) == 4
    assert to_hex(above.get_facecolors()[0]) == to_hex(drawn.texts[0].get_color())


def test_a_label_has_the_colour_of_the_method_that_it_names():
    series = {"trained": ([1, 2], [1.0, 2.0]), "mae": ([1, 2], [2.0, 3.0])}
    drawn = figures.lines(series, "x", "y", {"trained": "pca"}).axes[0].lines
    assert [line.get_color() for line in drawn] == [figures.COLOURS["pca"], figures.COLOURS["mae"]]


def test_bars_of_nothing_say_so():
    drawn = figures.bars({"probe": {"a": (math.nan, math.nan), "b": (None, math.nan)}})
    assert [text.get_text() for text in drawn.axes[0].texts] == ["not measured"]


def test_two_curves_of_one_colour_differ_in_their_stroke():
    curve = ([1, 2], [1.0, 2.0])
    drawn = figures.lines({"a": curve, "b": curve, "c": curve}, "x", "y", {"b": "a"})
    assert [line.get_linestyle() for line in drawn.axes[0].lines] == ["-", "--", "-"]
