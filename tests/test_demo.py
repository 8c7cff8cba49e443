"""The reader's own picture, completed."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
from families import ready
from PIL import Image

from engine import demo
from lib.data.own import own_pictures
from lib.pixels import Shape

SHAPE = Shape(3, 16, 16, patch=(4, 4))


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """A model that has learned nothing, for pictures of 32 pixels, two ratios."""
    model = ready("mae", SHAPE, torch.zeros(1, 3, 16, 16))
    monkeypatch.setattr(demo, "load_pretrained", lambda name: model)
    monkeypatch.setattr(demo, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(demo, "RATIOS", (0.5, 0.9))
    monkeypatch.setattr(demo, "own_pictures", partial(own_pictures, shorter=32))


def demonstrate(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["demo", *map(str, arguments)])
    return demo.main()


PICTURES = [("RGB", (50, 40)), ("RGBA", (33, 200)), ("L", (900, 7)), ("P", (32, 32)), ("1", (5, 5))]


@pytest.mark.parametrize(("mode", "size"), PICTURES)
def test_a_picture_of_any_kind_becomes_a_figure(mode, size, tmp_path, monkeypatch, capsys):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(tmp_path / "mine.png")
    assert demonstrate(monkeypatch, tmp_path / "mine.png") == 0
    file = tmp_path / "reports" / "demo" / "mine.png"
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == ["completing mine.png: some twenty seconds", f"wrote {file}"]
    assert said[0].startswith("enlarged to 32 pixels") == (min(size) < 32)
    with Image.open(file) as made:
        assert min(made.size) > 200 and len(made.convert("RGB").getcolors(2**24)) > 50


def test_of_two_pictures_of_one_name_the_later_replaces_the_earlier_and_says_so(
    tmp_path, monkeypatch, capsys
):
    for kind in ("png", "bmp"):
        Image.new("RGB", (32, 32), (200, 10, 10)).save(tmp_path / f"mine.{kind}")
        demonstrate(monkeypatch, tmp_path / f"mine.{kind}")
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("wrote")]
    assert ["replaced" in line for line in told] == [False, True]


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_what_is_no_picture_is_named(content, tmp_path, monkeypatch, capsys):
    if content is not None:
        (tmp_path / "bad.jpg").write_bytes(content)
    assert demonstrate(monkeypatch, tmp_path / "bad.jpg") == 1
    said = capsys.readouterr().err
    assert said.startswith("demo: ") and "bad.jpg" in said and "Traceback" not in said
    assert not (tmp_path / "reports").exists()


def test_of_a_folder_it_is_said_what_takes_folders(tmp_path, monkeypatch, capsys):
    assert demonstrate(monkeypatch, tmp_path) == 1
    assert "08_your_images.ipynb takes folders" in capsys.readouterr().err
