"""The arithmetic of docs/scale.md starts from what the code counts; measured numbers are as told."""

import json
import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lib.files import REPORTS, ROOT
from lib.masking import draw
from lib.models.family import build
from lib.pixels import Shape
from lib.streams import stream

TEXT = (ROOT / "docs" / "scale.md").read_text()
SPEED = (ROOT / "docs" / "speed.md").read_text()
VIT_B = {
    "dim": 768,
    "depth": 12,
    "heads": 12,
    "decoder_dim": 512,
    "decoder_depth": 8,
    "decoder_heads": 16,
}
IMAGES, RATE = 1.2812e6, 400e12


@pytest.fixture(scope="module")
def counted() -> tuple[float, float]:
    """GFLOP of a forward pass, and millions of parameters."""
    shape = Shape(3, 224, 224, (16, 16))
    model = build("mae", VIT_B, shape, torch.full((3,), 0.5), torch.full((3,), 0.3), stream(0, "w"))
    mask = draw("random", batch=1, grid=shape.grid, ratio=0.75, generator=stream(0, "m"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.reconstruct(torch.zeros(1, 3, 224, 224), mask)
    return counter.get_total_flops() / 1e9, sum(p.numel() for p in model.parameters()) / 1e6


def said(pattern: str, text: str = TEXT) -> float:
    return float(re.search(pattern, text).group(1).replace(",", ""))


def test_work_and_size_are_those_of_the_model(counted):
    work, size = counted
    assert said(r"\| ([\d.]+) GFLOP, half") == pytest.approx(work, rel=5e-3)
    assert said(r"parameters \| ([\d.]+) M") == pytest.approx(size, rel=1e-3)
    assert said(r"\| ([\d.]+) GFLOP \| three") == pytest.approx(3 * work, rel=5e-3)
    assert said(r"one all-reduce of ([\d.]+) MB") == pytest.approx(4 * size, rel=5e-3)


def numbers_of_the_table(column: int) -> dict[str, float]:
    """The first number of each row in one of the two columns."""
    lines = [line for line in TEXT.splitlines() if line.startswith("| ") and line.count("|") == 4]
    found = {}
    for line in lines:
        cells = line.split("|")
        number = re.search(r"\d[\d.,]*", cells[2 + column])
        if number:
            found[cells[1].strip()] = float(number.group().rstrip(",.").replace(",", ""))
    return found


@pytest.mark.parametrize(("count", "bandwidth", "column"), [(8, 300e9, 0), (64, 50e9, 1)])
def test_the_table_adds_up(counted, count, bandwidth, column):
    work, size = counted
    compute = 4096 / count * 3 * work * 1e9 / RATE
    together = compute + 2 * (count - 1) / count * 4e6 * size / bandwidth
    number = numbers_of_the_table(column)
    assert number["compute"] == pytest.approx(compute * 1e3, rel=0.02)
    assert number["step"] == pytest.approx(together * 1e3, rel=0.02)
    assert number["images/s"] == pytest.approx(4096 / together, rel=0.02)
    assert number["800 epochs"] == pytest.approx(800 * IMAGES * together / 4096 / 3600, rel=0.03)
    share = compute / together if column == 0 else 1 - compute / together
    assert number["bound by"] == pytest.approx(100 * share, abs=1)


def test_the_large_set_is_told_as_it_was_measured():
    found = json.loads((REPORTS / "tables" / "large_data.json").read_text())
    far, held = found["mapped"], found["held in memory"]
    assert far["making it"]["gigabytes"] == 10
    assert far["using it"]["mapped"] and not held["using it"]["mapped"]
    assert max(far[part]["peak MB"] for part in ("making it", "using it")) < 1500
    assert said(r"10 GB trains in ([\d.]+) GB") == round(far["using it"]["peak MB"] / 1000, 1)
    rates = [one["using it"]["training, images/s"] for one in (far, held)]
    assert said(r"at ([\d]+) % of the rate") == round(100 * rates[0] / rates[1])


def test_masks_are_drawn_as_fast_as_is_told():
    found = json.loads((REPORTS / "tables" / "masks.json").read_text())
    assert (found["images"], found["grid"]) == (256, [14, 14])
    taken = {name: row["ms"] for name, row in found["strategies"].items()}
    assert said(r"less than (\d+) ms for random", SPEED) > taken["random"]
    assert said(r"less than (\d+) ms for any other", SPEED) > max(taken.values())
