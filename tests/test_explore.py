"""Sliders where somebody looks, a still picture where nobody does."""

import math

import matplotlib.pyplot as plt
import pytest
import torch
from families import ready

from lib.pixels import Shape
from lib.run import explore
from lib.streams import stream

SHAPE = Shape(3, 16, 16, patch=(4, 4))


@pytest.fixture
def model():
    return ready("mae", SHAPE, torch.zeros(1, 3, 16, 16))


def pictures():
    return {name: torch.rand(3, 24, 32, generator=stream(0, name)) for name in ("one", "two")}


def test_a_still_picture_stands_where_nobody_looks(model, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    shown = []
    explore.explore(model, pictures(), ["block", "random"], shown.append)
    (figure,) = shown
    seen, words, original = [axis.get_title() for axis in figure.axes]
    plt.close(figure)
    assert (seen, original) == ("one, block", "original") and words.endswith(
        " dB on the hidden 75%"
    )


def test_sliders_redraw_what_was_chosen(model):
    box = explore.sliders(model, pictures(), ["random", "half"])
    upper, lower, shown, words = box.children
    picture, strategy, ratio, seed = *upper.children, *lower.children
    seen = [shown.value]
    for control, value in ((picture, "two"), (strategy, "half"), (seed, 3), (ratio, 0.5)):
        control.value = value
        seen.append(shown.value)
    assert all(bytes(png[:4]) == b"\x89PNG" for png in seen)
    assert len(set(seen[:4])) == 4, "each choice shows"
    assert seen[4] == seen[3], "a half hides one half"
    expected = explore.sight(model, pictures()["two"], "half", 0.5, 3)
    assert shown.value == explore.as_png(expected.pictures) and expected.words in words.value


def test_what_is_seen_is_kept_and_what_is_hidden_is_measured(model):
    found = explore.sight(model, pictures()["one"], "random", 0.5, 0)
    seen, completed, original = found.pictures
    kept = (seen == original).all(dim=0)
    assert kept.float().mean() == 0.5
    assert torch.equal(completed[:, kept], original[:, kept])
    error = ((completed - original)[:, ~kept] ** 2).mean().item()
    assert found.words == f"{-10 * math.log10(error):.1f} dB on the hidden 50%"
