"""A mixed image holds two images in the proportion that its label says."""

import pytest
import torch

from lib import mixing
from lib.finetune import Classifier, FineTune, FineTuneStep
from lib.mixing import box, mixed
from lib.models import build
from lib.optim import Batch, StepSettings
from lib.pixels import Shape
from lib.streams import stream

WAYS = [{"mixup": 0.8, "cutmix": 0.0}, {"mixup": 0.0, "cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}]


def plain(count, side=8):
    """Images of one brightness each: their label is the brightness."""
    labels = torch.arange(count)
    return (labels / count).float()[:, None, None, None].expand(count, 3, side, side).contiguous(), labels


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("count", [1, 5, 6])
def test_labels_are_mixed_as_the_pixels_are(how, count):
    """The mean brightness of a mixed image is the mean of its label: of images that are their label's brightness all over."""
    images, labels = plain(count)
    before = images.clone()
    for seed in range(20):
        found, targets = mixed(images, labels, count + 2, **how, generator=stream(seed, "noise"))
        assert targets.shape == (count, count + 2) and torch.allclose(targets.sum(1), torch.ones(count))
        assert torch.allclose(found.mean((1, 2, 3)), targets @ torch.arange(count + 2).div(count), atol=1e-5)
    assert torch.equal(images, before)


def test_mixup_blends_every_pixel_and_cutmix_copies_each_from_one_image():
    images, labels = plain(4)
    blended, copied = (mixed(images, labels, 4, **how, generator=stream(3, "noise"))[0] for how in WAYS[:2])
    assert all(len(image.unique()) == 1 for image in blended) and not torch.isin(blended, images).all()
    assert torch.isin(copied, images).all() and not torch.equal(copied, images)


def test_where_both_are_on_a_coin_decides():
    images, labels = plain(4)
    cut = [torch.isin(mixed(images, labels, 4, **WAYS[2], generator=stream(seed, "noise"))[0], images).all().item() for seed in range(400)]
    assert 150 < sum(cut) < 250


def test_shares_follow_the_beta_distribution():
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1))."""
    drawn = torch.tensor([mixing.beta(0.8, generator) for generator in [stream(0, "noise")] for _ in range(4000)])
    assert drawn.mean() == pytest.approx(0.5, abs=0.02) and drawn.var() == pytest.approx(1 / (4 * 2.6), rel=0.06)


def test_a_box_in_the_middle_has_its_area_and_one_at_the_border_is_cut_off():
    assert box(0.25, 8, 16, [0.5, 0.5]) == (2, 6, 4, 12)
    assert box(0.25, 8, 16, [0.0, 0.999]) == (0, 2, 11, 16)
    assert box(0.0, 8, 8, [0.3, 0.3])[0] == box(0.0, 8, 8, [0.3, 0.3])[1]


def test_nothing_to_mix_is_said():
    with pytest.raises(ValueError, match="set mixup or cutmix above 0"):
        mixed(*plain(2), 2, mixup=0.0, cutmix=0.0, generator=stream(0, "noise"))


def test_fine_tuning_learns_from_the_mixed_labels(monkeypatch):
    """With everything taken from the other image, a step is the one on the images and labels in reverse."""
    monkeypatch.setattr(mixing, "beta", lambda alpha, generator: 0.0)
    shape = Shape(1, 8, 8, (4, 4))
    options = {"dim": 8, "depth": 1, "heads": 2, "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}
    images, labels = torch.rand(6, 1, 8, 8, generator=stream(0, "x")), torch.tensor([0, 1, 2, 0, 1, 1])
    weights = []
    for how, given in ((FineTune(mixup=1.0, drop_path=0.0), (images, labels)), (FineTune(drop_path=0.0), (images.flip(0), labels.flip(0)))):
        body = build("mae", options, shape, torch.zeros(1), torch.ones(1), stream(0, "weights"))
        classifier = Classifier(body, 8, 3, 0.1, seed=0)
        step = FineTuneStep(classifier, StepSettings(1e-3, 0.0), how)
        step(Batch(given[0], torch.zeros(6, 1, dtype=torch.bool), 6, stream(0, "noise"), given[1]))
        weights.append(classifier.head.weight.detach().clone())
    assert torch.allclose(*weights, atol=1e-7)
