"""Scores of patches, where they are known."""

import pytest
import torch

from lib.scores import SCORES, scores_of

PATCH = (4, 4)


def board():
    """One image of four patches: flat, a ramp, a ramp twice as steep, noise of one pixel."""
    image = torch.zeros(1, 1, 8, 8)
    ramp = torch.arange(4.0).expand(4, 4)
    image[0, 0, :4, :4] = 0.5
    image[0, 0, :4, 4:] = 0.1 * ramp
    image[0, 0, 4:, :4] = 0.2 * ramp
    image[0, 0, 4:, 4:] = 0.6
    image[0, 0, 6, 6] = 0.9
    return image


def test_variance_is_that_of_the_patch_in_each_channel():
    found = SCORES["variance"](board(), PATCH)[0]
    ramp = torch.tensor([0.0, 0.1, 0.2, 0.3])
    assert found[0] == 0
    assert found[1] == pytest.approx(float(ramp.var(correction=0)), abs=1e-6)
    assert found[2] == pytest.approx(4 * float(found[1]), rel=1e-5)
    tinted = torch.cat([board(), 0 * board()], dim=1) + 0.05  # a channel that does not vary
    assert SCORES["variance"](tinted, PATCH)[0, 1] == pytest.approx(float(found[1]) / 2, rel=1e-4)


def test_edges_are_mean_lengths_of_the_gradient():
    image = torch.zeros(1, 1, 8, 8)
    image[:, :, :, 1:] = 0.4  # one step, in the first patches
    found = SCORES["edges"](image, PATCH)[0]
    assert found.tolist() == pytest.approx([0.4 * 4 / 16, 0, 0.4 * 4 / 16, 0])
    across = SCORES["edges"](image.transpose(2, 3), PATCH)[0]
    assert across.tolist() == pytest.approx([0.4 * 4 / 16, 0.4 * 4 / 16, 0, 0])


def test_bytes_are_looked_at_in_parts_as_a_whole(monkeypatch):
    images = torch.randint(0, 256, (7, 3, 8, 8), dtype=torch.uint8)
    whole = scores_of("busiest", images, PATCH)
    monkeypatch.setattr("lib.scores.TOGETHER", 3)
    assert torch.equal(scores_of("busiest", images, PATCH), whole)
    assert torch.equal(scores_of("busiest", images.float() / 255, PATCH), whole)
    assert scores_of("random", images, PATCH) is None
