import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lib import figures
from lib.masking import STRATEGIES
from lib.models import MODELS

DRAWN = {
    "rows": lambda: figures.picture_rows({"a": torch.rand(3, 1, 8, 8), "b": torch.rand(2, 3, 8, 8)}),
    "lines": lambda: figures.lines({"mae": ([1, 2, 4], [1.0, 2.0, 3.0])}, "x [unit]", "y [unit]", log_x=True),
    "bars": lambda: figures.bars({"one": {"a": (0.5, 0.1), "b": (None, None)}, "two": {"a": (0.7, float("nan")), "b": (0.1, 0.2)}}),
    "scatter": lambda: figures.scatter({"a": (torch.rand(9, 2), torch.arange(9)), "b": (torch.rand(9, 2), None)}),
    "matrix": lambda: figures.matrix(np.arange(6.0).reshape(2, 3), ["a", "b"], ["c", "d", "e"], "x", "y", "dB"),
    "maps": lambda: figures.maps({str(i): np.eye(4) for i in range(9)}),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_a_figure_is_saved_with_its_texts(kind, tmp_path):
    figures.publish(DRAWN[kind](), "09-test", "An alternative text.", "A caption.", tmp_path)
    assert json.loads((tmp_path / "09-test.json").read_text()) == {"alt": "An alternative text.", "caption": "A caption."}
    assert (tmp_path / "09-test.png").read_bytes()[:4] == b"\x89PNG" and b"<svg" in (tmp_path / "09-test.svg").read_bytes()
    assert not plt.get_fignums(), "no figure is left open"


def test_the_same_figure_is_the_same_svg(tmp_path):
    for name in ("first", "second"):
        torch.manual_seed(0)
        figures.publish(DRAWN["lines"](), name, "a", "c", tmp_path)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_every_family_and_strategy_has_a_colour():
    assert all(figures.colour(name).startswith("#") for name in [*MODELS, *STRATEGIES, "something new"])


def test_the_veil_covers_hidden_pixels_only():
    images, hidden = torch.rand(2, 1, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    hidden[:, :, :2] = True
    veiled = figures.veil(images, hidden)
    assert veiled.shape == (2, 3, 4, 4) and torch.equal(veiled[:, :, 2:], images[:, :, 2:].expand(-1, 3, -1, -1))
    assert torch.allclose(veiled[:, :, 0, 0], torch.tensor(figures.VEIL).expand(2, 3))
