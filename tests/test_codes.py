"""Spans, angles and distances against cases that are known."""

import numpy as np
import pytest
import torch
from torch import nn

from lib import codes
from lib.pixels import PixelSpace, Shape
from lib.streams import stream


class Linear(nn.Module):
    """A decoder that adds a picture and moves along two others."""

    def __init__(self):
        super().__init__()
        self.space = PixelSpace(Shape(1, 2, 4, (2, 2)), torch.tensor([0.5]), torch.tensor([0.2]))
        self.pictures = torch.arange(16.0).reshape(2, 8)

    def decode(self, code):
        return (7 + code @ self.pictures).reshape(-1, 1, 2, 4)


def test_the_span_of_a_decoder_is_its_pictures_in_patch_order_and_image_units():
    span = codes.decoder_span(Linear(), 2)
    first = [0, 1, 4, 5, 2, 3, 6, 7]  # two patches of 2x2
    assert torch.allclose(span[:, 0], 0.2 * torch.tensor(first), atol=1e-6)
    assert torch.allclose(span[:, 1], 0.2 * (8 + torch.tensor(first)), atol=1e-5)


def test_principal_angles_of_known_spans():
    plane = torch.eye(4)[:, :2]
    turned = torch.eye(4)[:, [0, 2]]
    half = torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 0]]).T  # one direction at 45 degrees
    assert torch.allclose(codes.principal_angles(plane, plane), torch.zeros(2), atol=0.1)
    assert torch.allclose(codes.principal_angles(plane, turned), torch.tensor([0.0, 90.0]))
    assert torch.allclose(codes.principal_angles(plane, half), torch.tensor([0.0, 45.0]))
    assert torch.allclose(codes.principal_angles(plane, plane * 3), torch.zeros(2), atol=0.1)


def test_sliced_distance_of_equal_and_of_shifted_samples():
    first = torch.randn(4000, 2, generator=stream(0, "a"))
    second = torch.randn(4000, 2, generator=stream(0, "b"))
    assert codes.sliced_distance(first, second, stream(0, "d")) < 0.05
    shifted = first + torch.tensor([3.0, 0.0])
    found = codes.sliced_distance(first, shifted, stream(0, "d"))
    assert found == pytest.approx(3 * 2 / np.pi, rel=0.1)  # the mean of |cos| is 2 / pi


def test_whitening_can_be_undone():
    drawn = torch.randn(500, 2, generator=stream(0, "c"))
    skewed = drawn @ torch.tensor([[2.0, 0.5], [0.0, 0.3]]) + 4
    white, mean, root = codes.whiten(skewed)
    assert torch.allclose(torch.cov(white.T), torch.eye(2), atol=1e-3)
    assert white.mean(dim=0).abs().max() < 1e-4
    assert torch.allclose(white @ root.T + mean, skewed, atol=1e-3)


def test_the_distance_to_data_is_that_to_the_nearest_image():
    data = torch.tensor([[0.0, 0.0], [3.0, 4.0]]).reshape(2, 1, 1, 2)
    samples = torch.tensor([[0.0, 1.0], [3.0, 1.0]]).reshape(2, 1, 1, 2)
    assert codes.distance_to_data(samples, data) == pytest.approx((1 + 3) / 2)


def test_a_lattice_is_read_row_by_row_from_the_top():
    cells = codes.lattice(2, 1.5).tolist()
    assert cells == [[-1.5, 1.5], [1.5, 1.5], [-1.5, -1.5], [1.5, -1.5]]
