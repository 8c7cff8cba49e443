"""How masks lie, where it is known."""

import math

import pytest
import torch

from lib import geometry
from lib.masking import draw
from lib.streams import stream


def one(*rows):
    """A mask from pictures, # = hidden."""
    return torch.tensor([[sign == "#" for row in rows for sign in row]])


def many(name, grid, ratio=0.75, batch=400):
    return draw(name, batch=batch, grid=grid, ratio=ratio, generator=stream(0, "mask"))


HOLE = one(".....", ".###.", ".###.", ".###.", ".....")
APART = one("#..#", "....", "....", "##.#")


def test_the_distance_is_that_to_the_nearest_seen():
    assert geometry.distance_to_visible(HOLE, (5, 5)) == pytest.approx((8 * 1 + 2) / 9)
    line = one("####.")
    assert geometry.distance_to_visible(line, (1, 5)) == pytest.approx((4 + 3 + 2 + 1) / 4)
    corner = one("#.", "..")
    assert geometry.distance_to_visible(corner, (2, 2)) == 1


def test_regions_touch_by_sides_and_count_as_often_as_they_have_patches():
    assert geometry.region_size(HOLE, (5, 5)) == 9
    assert geometry.region_size(APART, (4, 4)) == pytest.approx((1 + 1 + 2 * 2 + 1) / 5)
    assert geometry.region_size(one("#.", ".#"), (2, 2)) == 1, "corners do not connect"


def test_places_that_never_change_have_no_entropy_and_fair_ones_all():
    assert geometry.evenness(HOLE.expand(10, -1)) == 0
    both = torch.cat([one("#."), one(".#")])
    assert geometry.evenness(both) == pytest.approx(1)
    assert geometry.evenness(many("random", (4, 4), batch=4000)) > 0.999
    # Of four places two are always hidden, two half the time.
    expected = 0.5 / -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert geometry.evenness(torch.cat([one("#.##"), one("##.#")])) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["random", "block", "grid", "red_noise"])
def test_the_power_is_one_on_average_over_all_frequencies(name):
    grid = (8, 8)
    masks = many(name, grid)
    frequencies, power = geometry.spectrum(masks, grid, bins=40)
    assert len(frequencies) < 40 and min(frequencies) > 0, "empty bands are left out"
    # By Parseval: the sum over frequencies is 64 times the variance of a mask's 64 patches.
    maps = masks.reshape(-1, *grid).double()
    raw = torch.fft.fft2(maps - maps.mean((1, 2), keepdim=True)).abs().square().mean(0)
    expected = 64 * float(maps[0].var(correction=0)) * 64 / 63
    assert float(raw.flatten()[1:].mean()) == pytest.approx(expected)
    lowest = [float(raw[0, 1]), float(raw[1, 0])]
    assert power[0] == pytest.approx(sum(lowest) / 2 / expected)


def test_random_masks_have_the_same_power_everywhere_and_a_wave_its_own():
    _, power = geometry.spectrum(many("random", (12, 12), batch=3000), (12, 12))
    assert max(abs(value - 1) for value in power) < 0.1
    stripes = one(*(["####", "...."] * 2))
    frequencies, power = geometry.spectrum(stripes, (4, 4), bins=4)
    peak = frequencies[power.index(max(power))]
    assert abs(peak - 0.5) < 0.1 and sum(value > 1e-9 for value in power) == 1


def test_what_cannot_be_said_is_nan():
    nothing, everything = torch.zeros(2, 4, dtype=torch.bool), torch.ones(2, 4, dtype=torch.bool)
    assert math.isnan(geometry.distance_to_visible(nothing, (2, 2)))
    assert math.isnan(geometry.distance_to_visible(everything, (2, 2)))
    assert math.isnan(geometry.region_size(nothing, (2, 2)))
    assert math.isnan(geometry.evenness(nothing))
